package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
)

// ErrLocked is returned by TryLock when another process holds the lock.
var ErrLocked = system.ErrLocked

// FileLock is a lock that one process holds at a time. The system releases it when the
// process dies.
type FileLock struct{ file *os.File }

// TryLock locks the file at path, which it creates if necessary. If another process holds
// the lock, TryLock fails at once with ErrLocked.
func TryLock(path string) (*FileLock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := system.TryLock(file); err != nil {
		file.Close()
		return nil, lockError(path, err)
	}
	return &FileLock{file}, nil
}

func lockError(path string, err error) error {
	switch {
	case errors.Is(err, ErrLocked):
		return ErrLocked
	case errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("lock %s: its file system offers no locks (%w); set CLAUDEMESH_CONFIG_DIR to a directory on a local disk", path, err)
	}
	return fmt.Errorf("lock %s: %w", path, err)
}

// Lock waits until it gets the lock of the file at path, or until ctx ends.
func Lock(ctx context.Context, path string) (*FileLock, error) {
	for {
		lock, err := TryLock(path)
		if !errors.Is(err, ErrLocked) {
			return lock, err
		}
		// A wait in the system's call for locks could not end with ctx.
		if !sleep(ctx, 10*time.Millisecond) {
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		}
	}
}

// Write replaces the contents of the locked file. A process that finds the file locked may
// read them.
func (l *FileLock) Write(b []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := l.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// Touch updates the modification time of the locked file, by the clock of its file system.
func (l *FileLock) Touch() error {
	info, err := l.file.Stat()
	if err == nil {
		err = l.file.Truncate(info.Size())
	}
	if err != nil {
		return fmt.Errorf("touch lock file: %w", err)
	}
	return nil
}

// Stat describes the locked file. The file at its path may be another one by now.
func (l *FileLock) Stat() (os.FileInfo, error) { return l.file.Stat() }

// Unlock releases the lock.
func (l *FileLock) Unlock() {
	// A process that is just being started has a copy of the open file, which would hold
	// the lock until the process runs its program.
	_ = system.Unlock(l.file)
	l.file.Close()
}
