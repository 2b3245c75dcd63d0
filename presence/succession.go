package presence

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// A session may succeed older ones of its member: /clear gives a conversation a new key, and
// the old key signs that the new one succeeds it. Messages to the old key then go to the
// successor, as long as the old session itself is not here.

// Ended is a presence that ended because its successor came.
type Ended[C comparable] struct {
	Presence *Presence[C]
	Conn     C // to close as session_replaced; zero if it was leased
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

// outlived returns the presences that end when an arrival joins as the presence found (nil
// for a new one): those of the sessions that it succeeds, newest first. A presence that began
// after the arrival's own is the old session, come back: it stays and has its own mailbox
// again, even though every hello of the successor repeats the list.
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

// endAll ends presences in favour of their successor.
func (r *Room[C]) endAll(over []*Presence[C], now time.Time) []Ended[C] {
	var list []Ended[C]
	for _, p := range over {
		list = append(list, Ended[C]{p, p.Conn})
		r.End(p, now)
	}
	return list
}

// Heir returns the presence that gets what is addressed to an old session's key: of the
// online sessions that succeed it, the one that connected last. It returns nil if there is
// none, or if the old session itself is here.
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

// inherit keeps what the user has set in an older session that p succeeds, and nothing that
// concerned its conversation.
func (p *Presence[C]) inherit(last *Record) {
	p.Profile, p.Visible = last.Profile, last.Visible
	if len(last.Groups) > 0 {
		p.Groups = last.Groups
	}
	if last.Status == wire.DND {
		p.Status, p.Source, p.StatusAt, p.StatusReason = last.Status, last.Source, last.StatusAt, last.StatusReason
	}
}
