package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/storage"
)

// A broker whose lease of the storage has run out is suspended: another broker may take
// the storage at any moment. It keeps its sockets and answers what it can, but it accepts
// no message, writes no push, lets nobody in and changes no presence by itself. It goes on
// when the lease is renewed. An ack is true even then: it follows a commit, or the
// acknowledgements of all recipients.

// helloPatience is how long a hello waits for the end of a suspension.
const helloPatience = 4 * time.Second

// suspension records whether the broker is suspended, as of the last sweep.
type suspension struct {
	mu    sync.Mutex
	under bool
	over  chan struct{} // closed by the sweep that finds it over; nil: nobody waits
}

// end returns a channel that is closed when the suspension is over.
func (s *suspension) end() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == nil {
		s.over = make(chan struct{})
	}
	return s.over
}

// turn notes whether the broker is suspended, and returns whether it was.
func (s *suspension) turn(now bool) (was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, s.under = s.under, now
	if !now && s.over != nil {
		close(s.over)
		s.over = nil
	}
	return was
}

// isSuspended reports whether another broker has the storage, or may have it soon.
func (b *Broker) isSuspended() bool { return b.storage.Claimed() != nil }

// awaitClaimed waits for the end of a suspension, until ctx ends.
func (b *Broker) awaitClaimed(ctx context.Context) error {
	for {
		err := b.storage.Claimed()
		if !errors.Is(err, storage.ErrSuspended) {
			return err
		}
		select {
		case <-b.suspension.end():
		case <-ctx.Done():
			return err
		}
	}
}

// sweepClaim looks after the lease, once a second. It reports whether this broker has the
// storage.
func (b *Broker) sweepClaim() bool {
	err := b.storage.Claimed()
	was := b.suspension.turn(err != nil)
	switch {
	case storage.IsLost(err):
		b.lose(err)
	case err != nil && !was:
		b.log.Warn("suspended: no message is accepted or pushed until the lease of the storage is renewed", zap.Error(err))
	case err == nil && was:
		b.log.Info("the lease of the storage is renewed: messages are accepted and pushed again")
	}
	if err == nil && b.pushesHeld.Swap(false) {
		for _, c := range b.allConns() {
			c.out.release()
		}
	}
	return err == nil
}

// holdPushes reports whether a connection must keep its pushes. If so, they are released
// by sweepClaim.
func (b *Broker) holdPushes() bool {
	if !b.isSuspended() {
		return false
	}
	b.pushesHeld.Store(true)
	return true
}

func (b *Broker) allConns() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		list = append(list, c)
	}
	return list
}
