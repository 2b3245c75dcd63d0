package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/journal"
)

// Commit implements journal.Store. If the answer doesn't arrive, the batch may have been committed,
// may be committed a little later, or may never be.
func (s *session) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	if s.dead() {
		return nil, errDead
	}
	_, luck, _ := s.server.draw("fate of a commit")
	err := s.pass(ctx, "commit")
	if err != nil {
		switch {
		case errors.Is(err, errDead):
			if s.landing {
				s.land(b)
			}
		case errors.Is(err, errAway) && luck%3 == 0:
			s.land(b)
		case ctx.Err() != nil && luck%3 == 0:
			s.landLater(clone(b), time.Duration(luck>>8%3000)*time.Millisecond)
		}
		return nil, err
	}
	duplicates, err := s.land(b)
	if err != nil {
		return nil, err
	}
	if err := s.pass(ctx, "commit answer"); err != nil {
		return nil, err
	}
	return duplicates, nil
}

// landLater commits a batch that its owner has given up, unless the owner commits another batch
// before or dies.
func (s *session) landLater(b *journal.Batch, after time.Duration) {
	s.server.disk.mu.Lock()
	commits := s.commits
	s.server.disk.mu.Unlock()
	time.AfterFunc(after, func() {
		s.server.disk.mu.Lock()
		defer s.server.disk.mu.Unlock()
		if !s.dead() && s.commits == commits {
			_, _ = s.landLocked(b) // forked or fenced: then it is lost
		}
	})
}

func (s *session) land(b *journal.Batch) ([]journal.Duplicate, error) {
	s.server.disk.mu.Lock()
	defer s.server.disk.mu.Unlock()
	return s.landLocked(b)
}

// landLocked commits a batch if the session still has the database.
func (s *session) landLocked(b *journal.Batch) ([]journal.Duplicate, error) {
	if err := s.fenceLocked(b.Meshes()...); err != nil {
		return nil, err
	}
	s.commits++
	return s.server.commitLocked(b)
}
