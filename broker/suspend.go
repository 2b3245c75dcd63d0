package broker

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/storage"
)

// A broker whose lease of the storage has run out is suspended: another broker may take
// the storage at any moment. It keeps its sockets and answers what it can, but it accepts
// no message, writes no push, lets nobody in and changes no presence by itself. It goes on
// when the lease is renewed. An ack is true even then: it follows a commit, or the
// acknowledgements of all recipients.

const (
	// helloPatience is how long a hello waits for the end of a suspension.
	helloPatience = 4 * time.Second
	// claimedAgain is the pause between two looks at the lease while somebody waits.
	claimedAgain = 20 * time.Millisecond
)

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
		case <-time.After(claimedAgain):
		case <-ctx.Done():
			return err
		}
	}
}

// sweepClaim looks after the lease, once a second. It reports whether the storage is ours.
func (b *Broker) sweepClaim() bool {
	err := b.storage.Claimed()
	was := b.suspended.Swap(err != nil)
	switch {
	case errors.Is(err, storage.ErrInUse):
		b.lose()
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
