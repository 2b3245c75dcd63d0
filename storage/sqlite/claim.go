package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/storage"
)

// Claim locks a file beside the database until Close or the end of the process.
// It returns storage.ErrInUse when another Store holds the lock, in this process
// or another, and does nothing when this one holds it.
func (s *Store) Claim(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		return nil
	}
	f, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("claim database: %w", err)
	}
	// flock belongs to this opening of the file, so that a second Store in the
	// same process is kept out too. A lock of fcntl would let it in.
	err = system.TryLock(f)
	if err == nil {
		s.lock = f
		return nil
	}
	_ = f.Close()
	if errors.Is(err, system.ErrLocked) {
		return fmt.Errorf("claim %s: %w", s.path, storage.ErrInUse)
	}
	return fmt.Errorf("claim database: %w", err)
}

// Claimed returns nil: nobody takes away the lock of a file.
func (s *Store) Claimed() error { return nil }
