package presence

import (
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// status is what a source has said, and when.
type status struct {
	is   wire.Status
	from Source
	at   time.Time
}

// decide applies the rules for sources of protocol v1 to a signal that says next
// while cur is recorded, and reports whether it is taken:
//
//   - dnd ends only by set_status, that is, by Manual, however old it is;
//   - a different status is taken from any source: a source that sees a change knows more
//     than one that saw none, however fresh the present status is;
//   - the same status refreshes source and time if its source is equal or higher. From a
//     lower source it does so only if cur is older than window, so that a guess can't keep
//     alive, under its own name, what a hook has just said.
func decide(cur, next status, window time.Duration) bool {
	switch {
	case cur.is == wire.DND && next.is != wire.DND:
		return next.from == Manual
	case cur.is != next.is:
		return true
	case next.from >= cur.from:
		return true
	}
	return next.at.Sub(cur.at) > window
}

// Signal is a status that a source reports.
type Signal struct {
	Status wire.Status
	Source Source
	Reason string // "" for none; it lasts until the next signal that is taken
}

// SetStatus handles a signal and reports whether the status changed. window is the hook
// window; see decide.
func (r *Room[C]) SetStatus(p *Presence[C], s Signal, now time.Time, window time.Duration) bool {
	if !r.live(p) {
		return false
	}
	if s.Source != JSONL {
		p.LastActive = now // even if the signal is not taken
		r.mayBeHome(p)
	}
	cur, next := status{p.Status, p.Source, p.StatusAt}, status{s.Status, s.Source, now}
	if !decide(cur, next, window) {
		return false
	}
	news := next.is != cur.is || next.from != cur.from || s.Reason != p.StatusReason
	p.Status, p.Source, p.StatusAt, p.StatusReason = next.is, next.from, next.at, s.Reason
	// Hooks repeat a status often; a new time alone is not worth a write.
	if news {
		r.changed(p)
	}
	return next.is != cur.is
}

// SweepStatus makes presences idle that are working according to a hook or by inference and
// have given no sign of life for ttl. It returns them. A status set by hand stays until the
// user changes it.
func (r *Room[C]) SweepStatus(now time.Time, ttl time.Duration) []*Presence[C] {
	var fell []*Presence[C]
	for _, p := range r.list {
		if p.Status != wire.Working || p.Source == Manual || now.Sub(p.StatusAt) < ttl || now.Sub(p.LastActive) < ttl {
			continue
		}
		p.Status, p.Source, p.StatusAt, p.StatusReason = wire.Idle, JSONL, now, ""
		r.changed(p)
		fell = append(fell, p)
	}
	return fell
}

// UrgentOnly reports whether a status lets only messages of priority now pass.
func UrgentOnly(s wire.Status) bool { return s != wire.Idle }
