//go:build !windows

package system

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const (
	// HasDaemon reports whether the daemon runs on this system.
	HasDaemon = true
	// HasModes reports whether the mode of a file says who may read it.
	HasModes = true
)

// TryLock takes the lock of an open file or directory, or fails at once with ErrLocked.
// The system takes it back when the process dies.
func TryLock(file *os.File) error {
	err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// Unlock gives a lock back.
func Unlock(file *os.File) error { return flock(file, syscall.LOCK_UN) }

// flock is flock(2) without interruptions by signals.
func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// NotOurs reports whether a file is known to be another user's.
func NotOurs(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) != os.Geteuid()
}

// Writable fails with an *fs.PathError when this user can't write to the file at path. It
// does not open the file.
func Writable(path string) error {
	const write = 2 // W_OK of access(2)
	if err := syscall.Access(path, write); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// Detached makes a process one that outlives this one and its terminal.
func Detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Exec becomes another program. It returns only if that fails.
func Exec(path string, argv, env []string) error { return syscall.Exec(path, argv, env) }

// SyncDir makes durable what an open directory holds.
func SyncDir(dir *os.File) error { return dir.Sync() }

// CPUTime is what this process has used; 0 when the system does not tell.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
