package presence

import "github.com/claudemesh/claudemesh/wire"

// Len returns how many presences are online or leased.
func (r *Room[C]) Len() int { return len(r.list) }

// All returns the presences by ConnectedAt, then by ID. The slice is the room's own: it is
// valid until the next change and must not be changed.
func (r *Room[C]) All() []*Presence[C] { return r.list }

// ByIdentity returns the presence with an identity, or nil if it is not in the room.
func (r *Room[C]) ByIdentity(id Identity) *Presence[C] { return r.identity[id] }

// ByKey returns the presence that a session key means, or nil: the one that proved the key,
// or, if none ever did, the one that claims it. Of several claims the first member's counts,
// so that nobody can take a key by claiming it later; of that member's, the newest
// connection's.
func (r *Room[C]) ByKey(session wire.Key) *Presence[C] {
	if p := r.proven[session]; p != nil {
		return p
	}
	claims := r.claimed[session]
	if len(claims) == 0 {
		return nil
	}
	first := claims[0]
	for _, p := range claims[1:] {
		if byAge(&p.Record, &first.Record) < 0 {
			first = p
		}
	}
	newest := first
	for _, p := range claims {
		if p.MemberKey == first.MemberKey && p.attach > newest.attach {
			newest = p
		}
	}
	return newest
}

// ByMember returns all presences of a member, in arbitrary order. The slice is the room's
// own: it is valid until the next change and must not be changed.
func (r *Room[C]) ByMember(member wire.Key) []*Presence[C] { return r.member[member] }

// Known returns what is known of a session key that was proven in this mesh, now
// or earlier.
func (r *Room[C]) Known(session wire.Key) (Known, bool) {
	k, ok := r.known[session]
	return k, ok
}

// KnownOf returns the session keys that a member has proven, here or away. The
// time is proportional to the number of known keys.
func (r *Room[C]) KnownOf(memberID wire.ID) []Known {
	var list []Known
	for _, k := range r.known {
		if k.MemberID == memberID {
			list = append(list, k)
		}
	}
	return list
}

// The store forgets sessions that ended long ago, and so must a room that stays in memory.
// BeginRecheck and EndRecheck drop the known keys that the store has forgotten. The caller reads
// them from the store between the two calls.

// BeginRecheck notes which keys may be forgotten: those whose session is not here now.
func (r *Room[C]) BeginRecheck() {
	r.doubtful = make(map[wire.Key]struct{})
	for key := range r.known {
		if r.proven[key] == nil {
			r.doubtful[key] = struct{}{}
		}
	}
}

// EndRecheck forgets the noted keys that are not among the stored ones and that nobody has proven
// since BeginRecheck.
func (r *Room[C]) EndRecheck(stored []Known) {
	for _, k := range stored {
		delete(r.doubtful, k.SessionKey)
	}
	for key := range r.doubtful {
		delete(r.known, key)
	}
	r.doubtful = nil
}

// Home returns the presence that gets what is addressed to a member key: the newest online
// member connection, else the online session that was last active, else nil. A connection
// with a claimed key is never home: it lives for seconds, and would take messages with it.
func (r *Room[C]) Home(member wire.Key) *Presence[C] { return r.home[member] }

// mayBeHome makes p its member's home if it is a better one than the present one. It is
// called when p has arrived or was active.
func (r *Room[C]) mayBeHome(p *Presence[C]) {
	if !p.Online || p.claim {
		return
	}
	if now := r.home[p.MemberKey]; now == nil || p.homelier(now) {
		r.home[p.MemberKey] = p
	}
}

// homelier reports whether p is a better home than another presence.
func (p *Presence[C]) homelier(than *Presence[C]) bool {
	switch {
	case p.Proven != than.Proven:
		return !p.Proven
	case p.Proven && !p.LastActive.Equal(than.LastActive):
		return p.LastActive.After(than.LastActive)
	}
	return p.attach > than.attach
}

// notHome finds another home for a member whose home was p. It takes time proportional to
// the number of the member's presences.
func (r *Room[C]) notHome(p *Presence[C]) {
	if r.home[p.MemberKey] != p {
		return
	}
	delete(r.home, p.MemberKey)
	for _, other := range r.member[p.MemberKey] {
		if other != p {
			r.mayBeHome(other)
		}
	}
}
