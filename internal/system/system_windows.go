package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

const (
	// HasDaemon reports whether the daemon runs on this system.
	HasDaemon = false
	// HasModes reports whether the mode of a file controls who may read it. On Windows its
	// access list does; a file inherits it from the user's profile folder, which only the
	// user and the system may read.
	HasModes = false
)

// lockAt is the offset of the locked byte: far behind the content, which stays readable.
const lockAt = 1 << 30

// TryLock locks an open file, or returns ErrLocked at once. The system releases the lock
// when the process dies. Directories can't be locked.
func TryLock(file *os.File) error {
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("lock a directory: %w", errors.ErrUnsupported)
	}
	err := windows.LockFileEx(windows.Handle(file.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{OffsetHigh: lockAt})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

// Unlock releases a lock.
func Unlock(file *os.File) error {
	return windows.UnlockFileEx(windows.Handle(file.Fd()), 0, 1, 0, &windows.Overlapped{OffsetHigh: lockAt})
}

// NotOurs reports whether a file is known to belong to another user; always false here.
func NotOurs(fs.FileInfo) bool { return false }

// Writable always returns nil here: the file's access list controls who may write.
func Writable(string) error { return nil }

// Detached returns the attributes for a process that outlives this one and its terminal.
func Detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// Exec always fails here: Windows can't replace a process with another program.
func Exec(string, []string, []string) error { return errors.ErrUnsupported }

// SyncDir does nothing: Windows can't sync directories and doesn't need to.
func SyncDir(*os.File) error { return nil }

// CPUTime returns the processor time that this process has used, or 0 if the system
// doesn't tell.
func CPUTime() time.Duration {
	var began, ended, kernel, user windows.Filetime
	if windows.GetProcessTimes(windows.CurrentProcess(), &began, &ended, &kernel, &user) != nil {
		return 0
	}
	const tick = 100 * time.Nanosecond
	ticks := func(t windows.Filetime) time.Duration {
		return time.Duration(uint64(t.HighDateTime)<<32 | uint64(t.LowDateTime))
	}
	return (ticks(kernel) + ticks(user)) * tick
}

// Uptime returns the time since the machine started. It advances while the machine sleeps, and
// nobody can set it.
func Uptime() time.Duration { return windows.DurationSinceBoot() }
