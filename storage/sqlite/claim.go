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
	lock, err := lockDatabase(s.path)
	if err != nil {
		return err
	}
	replaced, err := s.reopenReplacedLocked()
	if err != nil {
		return errors.Join(fmt.Errorf("claim %s: %w", s.path, err), lock.Close())
	}
	if replaced { // the new file may have another schema
		return errors.Join(fmt.Errorf("claim %s: somebody has replaced the file since the broker opened it; the broker has opened the new file and tries again: %w", s.path, storage.ErrInUse), lock.Close())
	}
	s.lock = lock
	return nil
}

// lockDatabase locks the file beside a database, until that file is closed. It returns
// storage.ErrInUse if somebody else has locked it.
func lockDatabase(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim database: %w", err)
	}
	// flock locks this open file description, so it excludes a second Store in the same
	// process too. An fcntl lock would not.
	err = system.TryLock(f)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, system.ErrLocked) {
		return nil, fmt.Errorf("claim %s: %w", path, storage.ErrInUse)
	}
	return nil, fmt.Errorf("claim database: %w", err)
}

// reopenReplacedLocked opens the file again if another one has taken its place, as a restore does
// while a broker waits for the database. It reports whether it did.
func (s *Store) reopenReplacedLocked() (bool, error) {
	there, err := os.Stat(s.path)
	if err != nil || os.SameFile(there, s.file) {
		return false, err
	}
	writing, reading, err := connectBoth(s.path)
	if err != nil {
		return false, err
	}
	s.file = there
	return true, errors.Join(s.write.reopen(writing), s.read.reopen(reading))
}

// Claimed returns nil, because nobody can take away a file lock.
func (s *Store) Claimed() error { return nil }
