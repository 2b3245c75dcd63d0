package daemon

import (
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// reachGrace is how long what a session needs may take to show itself, once its
	// program runs or the daemon has started anew.
	reachGrace = 15 * time.Second
	// toolGrace is how long a tool may be away: it follows a daemon to the next.
	toolGrace = 7 * time.Second
	// hooklessTurns is after how many turns without any hook these are taken for off. One
	// may be too short, or its hooks too slow on a busy machine.
	hooklessTurns = 2
)

// reach is what is known of the ways between a session and its daemon. To read, it needs
// the tool, and something that tells it to: hooks, or a path that wakes it.
type reach struct {
	expected string // why it will not read, as its launch had it; "": it will

	running time.Time // since when its program is seen; zero: it is not
	hooks   time.Time // of the last hook; zero: none yet
	earlier bool      // an earlier daemon had the session, and may have heard of its hooks
	turn    time.Time // when the turn began of which no hook has told; zero: there is none
	silent  int       // turns in a row without any hook

	tools  int       // processes that offer the tool now
	left   time.Time // when the last one has ended; zero: none has
	called bool      // the tool was used, since none was attached
}

// hooked notes that a hook has run.
func (r *reach) hooked(now time.Time) { r.hooks, r.turn, r.silent = now, time.Time{}, 0 }

// seen takes what the program publishes of itself.
func (r *reach) seen(status wire.Status, now time.Time) {
	if r.running.IsZero() {
		r.running = now
	}
	switch {
	case status == wire.Working && r.turn.IsZero() && now.Sub(r.hooks) > publishedAfter:
		r.turn = now
	case status == wire.Idle && !r.turn.IsZero():
		r.turn = time.Time{}
		r.silent++
	}
}

// cannotRead says why the session can't read; "": it can, as far as is known. path tells
// that something can wake it.
func (r *reach) cannotRead(path bool, now time.Time) string {
	settled := !r.running.IsZero() && now.Sub(r.running) > reachGrace
	hooks := !r.hooks.IsZero() || r.earlier
	if r.silent >= hooklessTurns || r.silent > 0 && r.hooks.IsZero() {
		hooks = false
	}
	tool := r.tools > 0 || r.called
	ended := !tool && !r.left.IsZero() && now.Sub(r.left) > toolGrace
	switch {
	case tool && (hooks || path):
		return ""
	case r.expected != "":
		return r.expected
	case ended, !tool && settled && r.left.IsZero():
		return local.NoTool
	case tool && settled:
		return local.NoHooks
	}
	return ""
}

// toolAttached notes that a process offers the tool, or that it has ended.
func (s *session) toolAttached(on bool) {
	s.mu.Lock()
	if on {
		s.reach.tools++
	} else if s.reach.tools--; s.reach.tools == 0 {
		s.reach.left, s.reach.called = time.Now(), false
	}
	s.mu.Unlock()
	s.lookAtReach()
}

// toolCalled notes that the tool works, for one that does not attach itself.
func (s *session) toolCalled() {
	s.mu.Lock()
	fresh := s.reach.tools == 0 && !s.reach.called
	s.reach.called = s.reach.called || fresh
	s.mu.Unlock()
	if fresh {
		s.lookAtReach()
	}
}

// lookAtReach finds out whether the session can read, and has its peers told of a change.
func (s *session) lookAtReach() {
	path := s.desk.Attached()
	s.mu.Lock()
	why := s.reach.cannotRead(path, time.Now())
	if s.facts.Trial {
		why = ""
	}
	changed := why != s.cannotRead
	s.cannotRead = why
	s.mu.Unlock()
	if changed {
		s.d.log.Info("reachability of a session has changed", "session", s.id, "cannotRead", why)
		s.tellStatus()
	}
}

// reads returns why the session can't read.
func (s *session) reads() (cannotRead string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cannotRead
}
