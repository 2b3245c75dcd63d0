package presence

import (
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// A status is what was said, by which source, and when.
type status struct {
	is   wire.Status
	from Source
	at   time.Time
}

// decide applies the rules for sources of protocol v1 to a signal that says next
// while cur is recorded, and reports whether it is taken:
//
//   - dnd is only left by set_status, that is, by Manual, whatever its age;
//   - another status is taken from any source: whoever sees a change knows more
//     than who saw nothing. Freshness does not protect a status from a change;
//   - the same status refreshes source and time when its source is equal or
//     higher; from a lower one only when cur is older than window, lest a
//     guess keep alive, and take the name of, what a hook has said just now.
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

// Signal says a status.
type Signal struct {
	Status wire.Status
	Source Source
	Reason string // "" for none; it lasts until the next signal that is taken
}

// SetStatus handles a signal and reports whether the status is another one now.
// window is the hook window: see decide.
func (r *Room[C]) SetStatus(p *Presence[C], s Signal, now time.Time, window time.Duration) bool {
	if !r.live(p) {
		return false
	}
	if s.Source != JSONL {
		p.LastActive = now // also when it is not taken: somebody is there
		r.mayBeHome(p)
	}
	cur, next := status{p.Status, p.Source, p.StatusAt}, status{s.Status, s.Source, now}
	if !decide(cur, next, window) {
		return false
	}
	news := next.is != cur.is || next.from != cur.from || s.Reason != p.StatusReason
	p.Status, p.Source, p.StatusAt, p.StatusReason = next.is, next.from, next.at, s.Reason
	// Hooks repeat a status all the time; a new time alone is not worth a write.
	if news {
		r.changed(p)
	}
	return next.is != cur.is
}

// SweepStatus lets those fall back to idle that are said to be working, by hook
// or inference, and gave no sign of life for ttl. It returns them. Who says by
// hand that he is working is believed until he says otherwise.
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
