package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrLocked is returned by TryLock when another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")

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
	if err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &FileLock{file}, nil
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

// Unlock gives the lock back.
func (l *FileLock) Unlock() { l.file.Close() }

// flock is flock(2) without interruptions by signals.
func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
