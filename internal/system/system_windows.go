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
	// HasModes reports whether the mode of a file says who may read it. Here its access
	// list does, which a profile's folder hands on: its user and the system.
	HasModes = false
)

// lockAt is the byte that is locked: far behind all others, which stay readable.
const lockAt = 1 << 30

// TryLock takes the lock of an open file, or fails at once with ErrLocked. The system
// takes it back when the process dies. Directories have no locks.
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

// Unlock gives a lock back.
func Unlock(file *os.File) error {
	return windows.UnlockFileEx(windows.Handle(file.Fd()), 0, 1, 0, &windows.Overlapped{OffsetHigh: lockAt})
}

// NotOurs reports whether a file is known to be another user's.
func NotOurs(fs.FileInfo) bool { return false }

// Writable knows nothing here: who may write is in a file's access list.
func Writable(string) error { return nil }

// Detached makes a process one that outlives this one and its terminal.
func Detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// Exec becomes another program. It returns only if that fails, which it does here.
func Exec(string, []string, []string) error { return errors.ErrUnsupported }

// SyncDir does nothing: directories can't be synced here, and need not.
func SyncDir(*os.File) error { return nil }

// CPUTime is what this process has used; 0 when the system does not tell.
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
