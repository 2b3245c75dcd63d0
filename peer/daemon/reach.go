package daemon

import (
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// reachGrace is how long after its program or the daemon starts a session may take to
	// attach what it needs.
	reachGrace = 15 * time.Second
	// toolGrace is how long a tool may be detached. It needs some time to connect to a new
	// daemon.
	toolGrace = 7 * time.Second
	// hooklessTurns is after how many turns without a hook the daemon takes the hooks to be
	// off. A single turn may be too short, or its hooks too slow on a busy machine.
	hooklessTurns = 2
)

// reach records which ways lead from the daemon to a session. To read its messages, a session
// needs the tool and something that tells it to use the tool: hooks, or a path that wakes it.
type reach struct {
	expected string // why it can't read, according to its launch; "" if it can

	running time.Time // when its program was first seen; zero if never
	hooks   time.Time // time of the last hook; zero if none yet
	earlier bool      // an earlier daemon had the session and may have seen its hooks
	turn    time.Time // start of the current turn without hooks; zero if there is none
	silent  int       // consecutive turns without a hook

	tools  int       // processes that offer the tool
	left   time.Time // when the last of them ended; zero if none has
	called bool      // the tool was used although no process attached it
}

// hooked records that a hook has run.
func (r *reach) hooked(now time.Time) { r.hooks, r.turn, r.silent = now, time.Time{}, 0 }

// seen records what the program publishes about itself.
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

// cannotRead returns why the session can't read, or "" if it can as far as the daemon knows.
// path reports whether a path can wake the session.
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

// toolAttached records that a process offers the tool, or that such a process has ended.
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

// toolCalled records that the tool works, for a tool that does not attach itself.
func (s *session) toolCalled() {
	s.mu.Lock()
	fresh := s.reach.tools == 0 && !s.reach.called
	s.reach.called = s.reach.called || fresh
	s.mu.Unlock()
	if fresh {
		s.lookAtReach()
	}
}

// lookAtReach determines whether the session can read, and tells its peers if that has changed.
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

// reads returns why the session can't read, or "" if it can.
func (s *session) reads() (cannotRead string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cannotRead
}
