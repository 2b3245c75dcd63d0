package presence

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Presence is a session or another connected client in a room. C is the type of the
// broker's connections; its zero value means none. Other packages must not change fields.
type Presence[C comparable] struct {
	Record
	Conn       C          // zero unless Online
	Online     bool       // false: leased, or ended
	LeaseUntil time.Time  // when a leased presence ends
	Addr       netip.Addr // client address of the last connection; invalid when unknown
	LastActive time.Time  // see Room.Touch
	Succeeds   []wire.Key // older sessions that this one succeeds, newest first
	// CannotRead is why the peer can't read its messages, "" if it can. The peer says so
	// with every connection, so it is not stored.
	CannotRead string

	// claim is true for a connection that named a session key without proving it.
	// SessionKey does not tell: it is cleared when another session proves the key.
	claim  bool
	attach uint64 // grows with every connection of the room: tells the newest
	hello  uint64 // of the last connection, see Arrival

	version      uint64       // of its newest change
	hiddenAt     uint64       // the version at which it was hidden; 0: it is visible, or arrived hidden
	newer, older *Presence[C] // in the order of changes
}

// Room holds the presences of one mesh that are online or leased. It is not safe
// for concurrent use.
type Room[C comparable] struct {
	meshID   wire.ID
	list     []*Presence[C] // by ConnectedAt, then ID
	byID     map[wire.ID]*Presence[C]
	identity map[Identity]*Presence[C]
	proven   map[wire.Key]*Presence[C]
	heirs    index[wire.Key, C] // by each key that they succeed
	claimed  index[wire.Key, C] // claims of keys that are not in known
	member   index[wire.Key, C]
	home     map[wire.Key]*Presence[C] // by member
	session  index[string, C]          // by SessionID
	cwd      index[string, C]
	group    index[string, C] // by the first segment of a group's name
	known    map[wire.Key]Known
	doubtful map[wire.Key]struct{} // known keys that may have to be forgotten; nil: see BeginRecheck
	pending  []heldSignal          // oldest first
	dirty    map[Identity]*Presence[C]
	attached uint64

	version   uint64
	newest    *Presence[C] // the one that changed last
	gone      []gone       // oldest first
	forgotten uint64       // the version up to which gone is incomplete
}

// NewRoom returns the empty room of a mesh.
func NewRoom[C comparable](meshID wire.ID) *Room[C] {
	return &Room[C]{
		meshID:   meshID,
		byID:     map[wire.ID]*Presence[C]{},
		identity: map[Identity]*Presence[C]{},
		proven:   map[wire.Key]*Presence[C]{},
		heirs:    index[wire.Key, C]{},
		claimed:  index[wire.Key, C]{},
		member:   index[wire.Key, C]{},
		home:     map[wire.Key]*Presence[C]{},
		session:  index[string, C]{},
		cwd:      index[string, C]{},
		group:    index[string, C]{},
		known:    map[wire.Key]Known{},
		dirty:    map[Identity]*Presence[C]{},
	}
}

// Restore fills an empty room when the mesh is loaded: presences that had not ended are
// leased until leaseUntil, and known keys stay taken. A presence's address is not stored, so
// hooks reach it only once it is back.
func (r *Room[C]) Restore(records []Record, known []Known, leaseUntil time.Time) {
	for _, k := range known {
		r.known[k.SessionKey] = k
	}
	for _, rec := range records {
		if rec.Proven {
			r.known[rec.SessionKey] = Known{rec.SessionKey, rec.MemberID, rec.DisplayName}
		}
	}
	sorted := slices.Clone(records)
	slices.SortFunc(sorted, func(a, b Record) int { return byAge(&a, &b) })
	for _, rec := range sorted {
		if !rec.EndedAt.IsZero() || r.identity[rec.Identity] != nil {
			continue
		}
		r.attached++
		p := &Presence[C]{
			Record:     rec,
			LeaseUntil: leaseUntil,
			LastActive: rec.LastSeenAt,
			claim:      !rec.Proven && !rec.SessionKey.IsZero(),
			attach:     r.attached,
		}
		if _, taken := r.known[rec.SessionKey]; taken && !rec.Proven {
			p.SessionKey = wire.Key{} // as prove would do
		}
		r.add(p)
		r.advance(p)
	}
}

// TakeDirty returns the newest records of the presences that changed since the last call, one
// per identity and sorted by it; those of ended presences once, with EndedAt set. It returns
// nil if nothing changed. The caller must keep what it can't store: the room does not return
// it again.
func (r *Room[C]) TakeDirty() []Record {
	if len(r.dirty) == 0 {
		return nil
	}
	records := make([]Record, 0, len(r.dirty))
	for _, p := range r.dirty {
		records = append(records, p.Record)
	}
	clear(r.dirty)
	// Always in the same order, so that two writers can't deadlock on the rows.
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Identity, b.Identity) })
	return records
}

// live reports whether p is in the room.
func (r *Room[C]) live(p *Presence[C]) bool { return r.byID[p.ID] == p }

// changed notes that the record of a live presence has to be stored.
func (r *Room[C]) changed(p *Presence[C]) {
	if r.live(p) {
		r.dirty[p.Identity] = p
		r.advance(p)
	}
}

// add adds a presence to the list and the indexes.
func (r *Room[C]) add(p *Presence[C]) {
	i, _ := r.position(p)
	r.list = slices.Insert(r.list, i, p)
	r.byID[p.ID] = p
	r.link(p)
}

// end removes a presence from the room for good.
func (r *Room[C]) end(p *Presence[C], now time.Time) {
	var none C
	p.Conn, p.Online, p.EndedAt = none, false, now
	r.changed(p)
	r.notHome(p)
	r.unlink(p)
	delete(r.byID, p.ID)
	if i, ok := r.position(p); ok {
		r.list = slices.Delete(r.list, i, i+1)
	}
	r.retire(p)
}

func (r *Room[C]) position(p *Presence[C]) (int, bool) {
	return slices.BinarySearchFunc(r.list, p, func(a, b *Presence[C]) int { return byAge(&a.Record, &b.Record) })
}

// byAge orders by ConnectedAt, then by ID. Neither ever changes in a room.
func byAge(a, b *Record) int {
	return cmp.Or(a.ConnectedAt.Compare(b.ConnectedAt), bytes.Compare(a.ID[:], b.ID[:]))
}

// link adds p to the indexes and unlink removes it. An indexed field may change only between
// an unlink and a link.
func (r *Room[C]) link(p *Presence[C]) {
	r.identity[p.Identity] = p
	switch {
	case p.Proven:
		r.proven[p.SessionKey] = p
	case !p.SessionKey.IsZero():
		r.claimed.add(p.SessionKey, p)
	}
	for _, old := range p.Succeeds {
		r.heirs.add(old, p)
	}
	r.member.add(p.MemberKey, p)
	r.session.add(p.SessionID, p)
	r.cwd.add(p.Cwd, p)
	for _, root := range groupRoots(p.Groups) {
		r.group.add(root, p)
	}
}

func (r *Room[C]) unlink(p *Presence[C]) {
	delete(r.identity, p.Identity)
	if p.Proven {
		delete(r.proven, p.SessionKey)
	} else {
		r.claimed.remove(p.SessionKey, p)
	}
	for _, old := range p.Succeeds {
		r.heirs.remove(old, p)
	}
	r.member.remove(p.MemberKey, p)
	r.session.remove(p.SessionID, p)
	r.cwd.remove(p.Cwd, p)
	for _, root := range groupRoots(p.Groups) {
		r.group.remove(root, p)
	}
}

// groupRoots returns the distinct first segments of the groups' names.
func groupRoots(groups []wire.Group) []string {
	var roots []string
	for _, g := range groups {
		root, _, _ := strings.Cut(g.Name, "/")
		if !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots
}

// index finds presences by something that several may share. The order within an entry is
// arbitrary.
type index[K, C comparable] map[K][]*Presence[C]

func (x index[K, C]) add(k K, p *Presence[C]) { x[k] = append(x[k], p) }

func (x index[K, C]) remove(k K, p *Presence[C]) {
	entry := x[k]
	i := slices.Index(entry, p)
	switch {
	case i < 0:
	case len(entry) == 1:
		delete(x, k)
	default:
		last := len(entry) - 1
		entry[i], entry[last] = entry[last], nil
		x[k] = entry[:last]
	}
}
