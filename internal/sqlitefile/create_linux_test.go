package sqlitefile

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCreateKeepsLocks checks that no goroutine that creates a file takes the locks of another one
// that has just created or found it. Without its locks, another process could delete the write-ahead
// log that is in use.
func TestCreateKeepsLocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 500 {
		path := filepath.Join(dir, "x.db")
		start := make(chan struct{})
		var files [8]*os.File
		var creating sync.WaitGroup
		for i := range files {
			creating.Go(func() {
				<-start
				if err := Create(path); err != nil {
					t.Error(err)
				}
				files[i] = lockByte(t, path, i)
			})
		}
		close(start)
		creating.Wait()
		if t.Failed() {
			return
		}
		for i, file := range files {
			if !isLocked(t, file, i) {
				t.Fatalf("goroutine %d has lost its lock", i)
			}
		}
		for _, file := range files {
			file.Close()
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// lockByte opens a file and locks one of its bytes, as SQLite does.
func lockByte(t *testing.T, path string, at int) *os.File {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return nil
	}
	if err := unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: int64(at), Len: 1}); err != nil {
		t.Error(err)
	}
	return file
}

// isLocked reports whether a byte of a file is locked. Unlike other fcntl locks, those of an open
// file conflict with the process's own.
func isLocked(t *testing.T, file *os.File, at int) bool {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(at), Len: 1}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		t.Fatal(err)
	}
	return lock.Type != unix.F_UNLCK
}
