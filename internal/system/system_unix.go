//go:build !windows

package system

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// HasDaemon reports whether the daemon runs on this system.
	HasDaemon = true
	// HasModes reports whether the mode of a file controls who may read it.
	HasModes = true
)

// TryLock locks an open file or directory, or returns ErrLocked at once. The system
// releases the lock when the process dies.
func TryLock(file *os.File) error {
	err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// Unlock releases a lock.
func Unlock(file *os.File) error { return flock(file, syscall.LOCK_UN) }

// flock is flock(2), repeated when a signal interrupts it.
func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// NotOurs reports whether a file is known to belong to another user.
func NotOurs(info fs.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) != os.Geteuid()
}

// Writable returns an *fs.PathError if this user can't write to the file at path. It
// doesn't open the file.
func Writable(path string) error {
	const write = 2 // W_OK of access(2)
	if err := syscall.Access(path, write); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// Detached returns the attributes for a process that outlives this one and its terminal.
func Detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Exec replaces this process with another program. It returns only on failure.
func Exec(path string, argv, env []string) error { return syscall.Exec(path, argv, env) }

// SyncDir makes the entries of an open directory durable.
func SyncDir(dir *os.File) error { return dir.Sync() }

// CPUTime returns the processor time that this process has used, or 0 if the system
// doesn't tell.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func clock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(err) // the system does not know its own clock
	}
	return time.Duration(t.Nano())
}
