package presence

import "github.com/claudemesh/claudemesh/wire"

// A room counts its changes, so that a client that knows an earlier roster can ask for the
// difference. The number of the newest change is the room's version. Only changes that a
// roster shows count. The version starts again when the room is loaded.

// minGone is how many ended presences a room remembers at least. Otherwise it remembers as
// many as there are presences: beyond that, the whole roster is no longer than the
// difference.
const minGone = 64

// gone is a presence that has ended.
type gone struct {
	id       wire.ID
	member   wire.Key
	visible  bool
	hiddenAt uint64
	version  uint64 // of its end
}

// Version returns the number of the newest change.
func (r *Room[C]) Version() uint64 { return r.version }

// Since returns what has changed for a member since a version: the presences that are new or
// different, newest change first, and the ids of those that it no longer sees, some of which
// it may never have seen. ok is false for a version that is too old or not of this room.
func (r *Room[C]) Since(version uint64, viewer wire.Key) (changed []*Presence[C], ended []wire.ID, ok bool) {
	if version < r.forgotten || version > r.version {
		return nil, nil, false
	}
	for p := r.newest; p != nil && p.version > version; p = p.older {
		switch {
		case p.Visible || p.MemberKey == viewer:
			changed = append(changed, p)
		case p.hiddenAt > version:
			ended = append(ended, p.ID)
		}
	}
	for i := len(r.gone) - 1; i >= 0 && r.gone[i].version > version; i-- {
		if g := &r.gone[i]; g.visible || g.member == viewer || g.hiddenAt > version {
			ended = append(ended, g.id)
		}
	}
	return changed, ended, true
}

// MemberChanged records that a member has changed in a way that its presences' rows show.
func (r *Room[C]) MemberChanged(member wire.Key) {
	for _, p := range r.member[member] {
		r.advance(p)
	}
}

// advance gives a live presence the newest version.
func (r *Room[C]) advance(p *Presence[C]) {
	r.version++
	p.version = r.version
	if r.newest == p {
		return
	}
	r.unchain(p)
	if p.older = r.newest; p.older != nil {
		p.older.newer = p
	}
	r.newest = p
}

// unchain removes a presence from the order of changes.
func (r *Room[C]) unchain(p *Presence[C]) {
	if r.newest == p {
		r.newest = p.older
	}
	if p.newer != nil {
		p.newer.older = p.older
	}
	if p.older != nil {
		p.older.newer = p.newer
	}
	p.newer, p.older = nil, nil
}

// retire remembers a presence that ends.
func (r *Room[C]) retire(p *Presence[C]) {
	r.unchain(p)
	r.version++
	r.gone = append(r.gone, gone{p.ID, p.MemberKey, p.Visible, p.hiddenAt, r.version})
	if most := max(minGone, len(r.list)); len(r.gone) > most {
		rest := r.gone[len(r.gone)-most*3/4:] // not one by one
		r.forgotten = r.gone[len(r.gone)-len(rest)-1].version
		r.gone = append(make([]gone, 0, most+1), rest...)
	}
}
