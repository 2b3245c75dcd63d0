package simulation

import (
	"context"
	"slices"
	"sync"
	"time"
)

// halt says whether a process stands still, as after a SIGSTOP or on a virtual machine that is
// paused. Time, the database and the other nodes go on meanwhile.
//
// Goroutines can't be stopped, but only what they exchange with the world can be seen from outside. So
// a process that stands still sends no statement, takes no answer, reads nothing, and what it
// writes leaves it only later. Its lease seems to run on: it is as if each goroutine had looked at
// the lease just before it was stopped, and had then to act on that.
type halt struct {
	mu   sync.Mutex
	over chan struct{} // closed when the process goes on; nil: it runs
	eyes time.Time     // when the process looked at its clock last; zero: it looks now
	at   string        // the call at which it will be stopped
	stop func()        // does that; nil: it will not
}

// when has the process stopped at its next call of a kind.
func (h *halt) when(call string, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at, h.stop = call, stop
}

// reach notes that the process is about to begin a call.
func (h *halt) reach(call string) {
	h.mu.Lock()
	stop := h.stop
	if h.at != call {
		stop = nil
	}
	if stop != nil {
		h.stop = nil
	}
	h.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// blink is how long before it goes on a process looks at its clock again. So whoever trusts the lease as
// it was has acted by then.
const blink = time.Millisecond

func (h *halt) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over, h.eyes = make(chan struct{}), time.Now()
}

func (h *halt) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eyes = time.Time{}
}

func (h *halt) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.over)
	h.over, h.eyes = nil, time.Time{}
}

// state returns a channel that is closed when the process goes on; nil: it runs.
func (h *halt) state() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

func (h *halt) is() bool { return h.state() != nil }

// clock returns the time at which the process looked at its clock last.
func (h *halt) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.eyes.IsZero() {
		return time.Now()
	}
	return h.eyes
}

// await waits while the process stands still. The process is about to begin a call, or to take its
// answer.
func (s *session) await(ctx context.Context, call string) error {
	s.halt.reach(call)
	for {
		over := s.halt.state()
		if over == nil {
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.died:
			return errDead
		}
	}
}

// linkSilence is how long a node may stand still before the sockets that it relays, and those that are
// relayed to it, are cut.
const linkSilence = 4 * time.Second

// haltLocked makes a node stand still for a time: from now on, or from its next call of a kind.
func (w *crowd) haltLocked(at *site, call string, length time.Duration) {
	if call != "" {
		at.session.halt.when(call, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.haltLocked(at, "", length)
		})
		return
	}
	if at.gone || at.session.halt.is() {
		return
	}
	at.session.halt.begin()
	w.holdLocked()
	over := at.session.halt.state()
	time.AfterFunc(linkSilence, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if at.session.halt.state() == over { // it has not gone on meanwhile
			w.cutLocked(func(g *guest) bool { return g.owner == at && g.edge != at })
		}
	})
	began := time.Now()
	time.AfterFunc(length-blink, at.session.halt.look)
	time.AfterFunc(length, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if time.Since(began) > linkSilence {
			w.cutLocked(func(g *guest) bool { return g.edge == at && g.owner != at })
		}
		at.session.halt.end()
		w.holdLocked()
	})
}

// stray is a line whose guest has left it while a node stood still. The node learns of that, and of what
// the guest sent before, when it goes on.
type stray struct {
	line        *link
	edge, owner *site
}

// stands reports whether a node between a guest and the owner of its mesh stands still.
func stands(edge, owner *site) bool { return edge.session.halt.is() || owner.session.halt.is() }

// holdLocked holds up the lines of guests on their way through a node that stands still.
func (w *crowd) holdLocked() {
	for _, g := range w.guests {
		if g.line != nil {
			g.line.hold(stands(g.edge, g.owner))
		}
	}
	w.strays = slices.DeleteFunc(w.strays, func(s stray) bool {
		held := stands(s.edge, s.owner)
		s.line.hold(held)
		return !held
	})
}
