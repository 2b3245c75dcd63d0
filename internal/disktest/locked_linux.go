package disktest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Locked reports whether this process or another one holds an fcntl lock of the file at path.
// Afterwards this process holds none: it gives up its locks when it closes the file.
func Locked(t testing.TB, path string) bool {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// Unlike other fcntl locks, those of an open file conflict with the process's own.
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		t.Fatal(err)
	}
	return lock.Type != unix.F_UNLCK
}
