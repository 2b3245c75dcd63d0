package attention

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

// Reasons for the end of a subscription.
var (
	// ErrReplaced means that the same process has a newer subscription of the same path. The
	// older one must not come back.
	ErrReplaced = errors.New("replaced by a newer subscription")
	// ErrReleased means that a waiter has received its pointer.
	ErrReleased = errors.New("released")
	// errFailed means that a path could not write a pointer.
	errFailed = errors.New("the last pointer was not written")
	// ErrClosed means that the session has ended or that Detach was called.
	ErrClosed = errors.New("subscription closed")
)

// rank orders the paths that can be attached.
func rank(path local.Path) int {
	return slices.Index([]local.Path{local.PathWaiter, local.PathChannel, local.PathMonitor}, path)
}

// Subscription is an attached path, which can put a pointer into a session at any time.
// Different goroutines may call Next and Detach, but only one may call Next.
type Subscription struct {
	desk  *Desk
	path  local.Path
	of    process.ID
	awake chan struct{} // capacity 1: check the desk
	ended chan struct{} // closed at the end, after why is set

	// guarded by desk.mu
	why        error
	open       *Offer    // the last offer that Next returned
	doubts     int       // consecutive pointers without a reaction
	doubtUntil time.Time // the Desk avoids it until then; zero if it does not
	doubtOver  *time.Timer
}

// Attach adds a path into a process. The path must not be [local.PathHooks]. It replaces an
// older subscription of the same path and process. A waiter gets no pointers while its process
// has a better path.
func (d *Desk) Attach(path local.Path, of process.ID) *Subscription {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &Subscription{desk: d, path: path, of: of, awake: make(chan struct{}, 1), ended: make(chan struct{})}
	s.doubtOver = time.AfterFunc(time.Hour, s.nudge)
	s.doubtOver.Stop()
	if d.closed {
		s.end(ErrClosed)
		return s
	}
	for _, other := range slices.Clone(d.subs) {
		if other.of == of && other.path == path {
			d.removeLocked(other, ErrReplaced)
		}
	}
	d.subs = append(d.subs, s)
	s.wake()
	return s
}

// bestLocked returns the subscription that gets the next pointer: the newest of the best path
// that is not in doubt. It returns nil if there is none.
func (d *Desk) bestLocked() *Subscription {
	var best *Subscription
	now := time.Now()
	for _, s := range d.subs {
		if s.doubtUntil.After(now) {
			continue
		}
		if best == nil || rank(s.path) >= rank(best.path) {
			best = s
		}
	}
	return best
}

func (d *Desk) removeLocked(s *Subscription, why error) {
	d.subs = slices.DeleteFunc(d.subs, func(other *Subscription) bool { return other == s })
	s.end(why)
	d.nudgeLocked() // messages that waited for s go to another path
}

func (s *Subscription) wake() {
	select {
	case s.awake <- struct{}{}:
	default:
	}
}

func (s *Subscription) end(why error) {
	if s.why == nil {
		s.why = why
		s.doubtOver.Stop()
		close(s.ended)
	}
}

// Next waits for a pointer. The caller must first finish the previous one with Done. After the
// end of the subscription, Next returns ErrReplaced, ErrReleased, errFailed or ErrClosed. If
// ctx ends, it returns the error of ctx.
func (s *Subscription) Next(ctx context.Context) (*Offer, error) {
	for {
		o, err := s.take()
		if o != nil || err != nil {
			return o, err
		}
		select {
		case <-s.awake:
		case <-s.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take makes an offer if one is due for this subscription.
func (s *Subscription) take() (*Offer, error) {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	if s.why != nil {
		return nil, s.why
	}
	if !s.desk.due || s.desk.bestLocked() != s {
		return nil, nil
	}
	o := s.desk.pushLocked()
	if o != nil {
		o.sub, s.open = s, o
	}
	return o, nil
}

// Detach ends the subscription. A pending offer counts as failed. Only the first call has an
// effect.
func (s *Subscription) Detach() {
	s.desk.mu.Lock()
	if s.why == nil {
		s.desk.removeLocked(s, ErrClosed)
	}
	open := s.open
	s.desk.mu.Unlock()
	if open != nil {
		open.Done(ErrClosed)
	}
}
