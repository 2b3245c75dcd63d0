package disk

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSecondOpenKeepsLocks checks that a database that a process opens twice stays locked. Without
// its locks, another process could delete the write-ahead log that is in use.
func TestSecondOpenKeepsLocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	first, err := Open(t.Context(), path, []Step{SQL(`CREATE TABLE x (y)`)})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := Open(t.Context(), path, []Step{SQL(`CREATE TABLE x (y)`)})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	// Locks of open file descriptions conflict with the process's own POSIX locks, which SQLite
	// uses, and their release does not affect those.
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		t.Fatal(err)
	}
	if lock.Type == unix.F_UNLCK {
		t.Error("the first connection has lost its locks")
	}
}
