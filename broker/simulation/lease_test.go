package simulation

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// leaseTime is how long a broker keeps the database after it last renewed its lease.
const leaseTime = 3 * time.Second

// lease is a session's lease of the database. The session renews it as long as it is not cut off
// from the server.
type lease struct {
	mu      sync.Mutex
	since   time.Time     // when the session was cut off; zero: it was not
	healed  bool          // the session is not cut off any more
	changed chan struct{} // closed when it has healed
}

// cutOff cuts a session off from the server, until heal.
func (l *lease) cutOff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since, l.healed, l.changed = time.Now(), false, make(chan struct{})
}

func (l *lease) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healed = true
	close(l.changed)
}

// cut reports whether the session is cut off, and returns a channel that is closed when it no
// longer is.
func (l *lease) cut() (yes bool, changed chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.since.IsZero() && !l.healed, l.changed
}

// runs reports whether the lease still runs, so that nobody else may take the database. A session
// may have renewed its lease up to a second before it was cut off.
func (l *lease) runs() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since.IsZero() || time.Since(l.since) < leaseTime-time.Second
}

// Claim implements broker.Storage.
func (s *session) Claim(ctx context.Context) error {
	if err := s.pass(ctx, "claim"); err != nil || s.seat != nil {
		return err
	}
	s.server.disk.mu.Lock()
	defer s.server.disk.mu.Unlock()
	if old := s.server.holder; old != nil && old != s && !old.dead() && old.lease.runs() {
		return storage.ErrInUse
	}
	s.server.holder = s
	return nil
}

// Claimed implements broker.Storage.
func (s *session) Claimed() error {
	if s.seat != nil {
		if s.server.broken.noSuspension {
			return nil
		}
		return s.seat.claimed(s.halt.clock())
	}
	if s.server.silent() {
		return s.server.suspend()
	}
	if s.lease.runs() {
		return nil
	}
	if cut, _ := s.lease.cut(); cut {
		return s.server.suspend()
	}
	s.server.disk.mu.Lock()
	defer s.server.disk.mu.Unlock()
	return s.fenceLocked()
}

// fenceLocked returns an error when somebody else has claimed the database since, or owns one of
// the meshes. It needs the disk's lock.
func (s *session) fenceLocked(meshes ...wire.ID) error {
	if s.seat != nil {
		return s.fenceNodeLocked(meshes)
	}
	if s.server.holder != s {
		return storage.ErrInUse
	}
	return nil
}

// suspend records that a broker learns that it is suspended.
func (s *server) suspend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended = time.Now()
	return storage.ErrSuspended
}

// suspendedLately reports whether a broker may not have swept since it was suspended.
func (s *server) suspendedLately() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.suspended.IsZero() && time.Since(s.suspended) < 2*time.Second
}

// silent reports whether all leases have run out because nobody could renew them.
func (s *server) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.weather.renews() && time.Since(s.renewed) >= leaseTime
}

// served reports whether a session has the database, and has written to it.
func (s *server) served(holder *session) bool {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	return s.holder == holder && holder.commits > 0
}
