package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/storage"
)

// Claim locks a file beside the database until Close or the end of the process. It returns
// storage.ErrInUse if another Store, in this process or another, holds the lock. If this
// Store already holds it, Claim does nothing.
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
	// flock locks this open file description, so it excludes a second Store in the same
	// process too. An fcntl lock would not.
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

// Claimed returns nil, because nobody can take away a file lock.
func (s *Store) Claimed() error { return nil }
