package daemon

import (
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// publishedAfter is how long after a hook the daemon ignores what the program publishes.
	// The program writes its file a moment after the hooks of the same event.
	publishedAfter = 1500 * time.Millisecond
	// turnSilence is how long a session counts as working while neither a hook nor the
	// published status confirms it.
	turnSilence = 30 * time.Minute
)

// state is the activity of a session according to its hooks and to what its processes publish.
type state struct {
	Status wire.Status // Idle or Working
	Reason string
	since  time.Time                    // when Status began; zero if with the session
	sign   time.Time                    // time of the last sign that Status holds
	hook   time.Time                    // time of the last hook
	seen   map[process.Number]Published // what each process published last
}

func newState() state { return state{Status: wire.Idle, seen: make(map[process.Number]Published)} }

// hooked applies what a hook reports, and reports whether the status changes.
func (t *state) hooked(status wire.Status, reason string, now time.Time) bool {
	t.hook = now
	return t.set(status, reason, now)
}

func (t *state) set(status wire.Status, reason string, now time.Time) bool {
	if status != wire.Working {
		reason = ""
	}
	t.sign = now
	if t.Status == status && t.Reason == reason {
		return false
	}
	if t.Status != status {
		t.since = now
	}
	t.Status, t.Reason = status, reason
	return true
}

// published applies what the session's processes publish, and reports whether the status
// changes. It covers what no hook reports, such as an interrupted turn. It therefore applies
// only a status that has not changed since the last call, and only publishedAfter after the
// last hook.
func (t *state) published(list map[process.Number]Published, now time.Time) bool {
	steady := true
	status, reason := wire.Status(""), ""
	for n, p := range list {
		if t.seen[n] != p {
			steady = false
		}
		switch {
		case p.Status == wire.Working && (status != wire.Working || p.Reason == ""):
			status, reason = wire.Working, p.Reason
		case p.Status == wire.Idle && status == "":
			status = wire.Idle
		}
	}
	t.seen = list
	if status == "" || !steady || now.Sub(t.hook) < publishedAfter {
		return false
	}
	return t.set(status, reason, now)
}

// tired ends a turn that has shown no sign for too long, and reports whether it did.
func (t *state) tired(now time.Time) bool {
	return t.Status == wire.Working && now.Sub(t.sign) > turnSilence && t.set(wire.Idle, "", now)
}

// doing returns the status that peers see.
func (s *session) doing() (status wire.Status, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.facts.DND {
		return wire.DND, ""
	}
	return s.state.Status, s.state.Reason
}

// tellStatus makes all lines report the status.
func (s *session) tellStatus() {
	s.tellDesk()
	for _, l := range s.liveLines() {
		kick(l.statusKick)
	}
}

// tellDesk tells the desk whether a turn is running.
func (s *session) tellDesk() {
	s.mu.Lock()
	working := s.state.Status == wire.Working
	s.mu.Unlock()
	s.desk.Working(working)
}
