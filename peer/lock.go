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

// FileLock is a lock that one process holds at a time. The system takes it back
// when the process dies.
type FileLock struct{ file *os.File }

// TryLock takes the lock of the file at path, which it creates, or fails at once
// with ErrLocked.
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

// Lock waits for the lock of the file at path until ctx ends.
func Lock(ctx context.Context, path string) (*FileLock, error) {
	for {
		lock, err := TryLock(path)
		if !errors.Is(err, ErrLocked) {
			return lock, err
		}
		// Whoever holds it writes one small file.
		if !sleep(ctx, 10*time.Millisecond) {
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		}
	}
}

// Write replaces what the locked file holds: whoever finds it locked may read that.
func (l *FileLock) Write(b []byte) error {
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := l.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// Touch gives the locked file a new time of modification, by the clock of its file system.
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

// Stat describes the locked file, which need not be the one at its path any more.
func (l *FileLock) Stat() (os.FileInfo, error) { return l.file.Stat() }

// Unlock gives the lock back.
func (l *FileLock) Unlock() {
	// A process that is being started at this moment has a copy of the file, which
	// would hold the lock until it runs its program.
	_ = system.Unlock(l.file)
	l.file.Close()
}
