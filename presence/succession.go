package presence

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// A session may go on in the place of older ones of its member: /clear gives a
// conversation a new key, and the old key signs that the new one succeeds it. What
// is addressed to the old key then goes to the successor, as long as the old
// session itself is not here.

// Ended is a presence that ended because its successor came.
type Ended[C comparable] struct {
	Presence *Presence[C]
	Conn     C // to be closed as session_replaced; zero: it was leased
}

// heritage returns the keys that an arrival succeeds: those of sessions that its
// own member has proven, each once.
func (r *Room[C]) heritage(a *Arrival[C]) []wire.Key {
	if !a.Proven {
		return nil
	}
	var keys []wire.Key
	for _, old := range a.Succeeds {
		if known, ok := r.known[old]; ok && known.MemberID == a.MemberID && old != a.SessionKey && !slices.Contains(keys, old) {
			keys = append(keys, old)
		}
	}
	return keys
}

// outlived returns the presences that end when an arrival with the presence found
// (nil: a new one) comes in: those of the sessions that it succeeds, newest first.
// One that began after the arrival's own presence is the old session come back,
// whose mailbox is its own again: it stays, though every hello of the successor
// repeats the list.
func (r *Room[C]) outlived(a *Arrival[C], found *Presence[C]) []*Presence[C] {
	if !a.Proven {
		return nil
	}
	var over []*Presence[C]
	for _, old := range a.Succeeds {
		p := r.proven[old]
		if p == nil || p == found || p.MemberKey != a.MemberKey || slices.Contains(over, p) ||
			found != nil && p.ConnectedAt.After(found.ConnectedAt) {
			continue
		}
		over = append(over, p)
	}
	return over
}

// endAll ends presences for their successor.
func (r *Room[C]) endAll(over []*Presence[C], now time.Time) []Ended[C] {
	var list []Ended[C]
	for _, p := range over {
		list = append(list, Ended[C]{p, p.Conn})
		r.End(p, now)
	}
	return list
}

// Heir returns the presence that gets what is addressed to the key of an old
// session: of the sessions that succeed it and are online the newest connection,
// nil when there is none or when the old session itself is here.
func (r *Room[C]) Heir(old wire.Key) *Presence[C] {
	if r.proven[old] != nil {
		return nil
	}
	var heir *Presence[C]
	for _, p := range r.heirs[old] {
		if p.Online && p.MemberID == r.known[old].MemberID && (heir == nil || p.attach > heir.attach) {
			heir = p
		}
	}
	return heir
}

// inherit goes on from the presence of an older session of the same seat: what its
// user has set stays set. What was said of the conversation itself is over.
func (p *Presence[C]) inherit(last *Record) {
	p.Profile, p.Visible = last.Profile, last.Visible
	if len(last.Groups) > 0 {
		p.Groups = last.Groups
	}
	if last.Status == wire.DND {
		p.Status, p.Source, p.StatusAt, p.StatusReason = last.Status, last.Source, last.StatusAt, last.StatusReason
	}
}
