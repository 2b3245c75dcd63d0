package attention

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

// Why a subscription ended.
var (
	// ErrReplaced is for the older of two subscriptions of one process by the same
	// path: it is over and must not come back.
	ErrReplaced = errors.New("replaced by a newer subscription")
	// ErrReleased is for a waiter that has had its pointer.
	ErrReleased = errors.New("released")
	// errFailed is for a path that could not write a pointer.
	errFailed = errors.New("the last pointer was not written")
	// ErrClosed is for a session that has ended, and after Detach.
	ErrClosed = errors.New("subscription closed")
)

// rank orders the paths that can be attached.
func rank(path local.Path) int {
	return slices.Index([]local.Path{local.PathWaiter, local.PathChannel, local.PathMonitor}, path)
}

// Subscription is an attached path: somebody who can put a pointer into a
// session at any time. Next and Detach may be called from different goroutines,
// Next only from one.
type Subscription struct {
	desk  *Desk
	path  local.Path
	of    process.ID
	awake chan struct{} // of size 1: look at the desk
	ended chan struct{} // closed at the end, when why is set

	// guarded by desk.mu
	why        error
	open       *Offer    // the one that Next returned last
	doubts     int       // how often in a row it led to no reaction
	doubtUntil time.Time // it is passed over until then; zero: it is not
}

// Attach adds a path, which must not be [local.PathHooks], into a process. It replaces an
// older one of the same path and process. A waiter stands by while its process has
// something better.
func (d *Desk) Attach(path local.Path, of process.ID) *Subscription {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &Subscription{desk: d, path: path, of: of, awake: make(chan struct{}, 1), ended: make(chan struct{})}
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

// bestLocked returns the subscription that pointers go to: the newest of the best
// path that is not in doubt. nil: there is none.
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
	d.nudgeLocked() // what waited for s goes to another now
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
		close(s.ended)
	}
}

// Next waits for a pointer. The last one must be done before. When the
// subscription has ended it returns ErrReplaced, ErrReleased, errFailed or
// ErrClosed, and the context's error when that has.
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

// Detach ends the subscription. An offer of its that is not done has failed.
// Calls after the first do nothing.
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
