package presence

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Errors of Join.
var (
	// ErrCapacity is returned when the room is full and the arrival would be a new
	// presence.
	ErrCapacity = errors.New("mesh at connection capacity")
	// ErrKeyTaken is returned when a hello merely claims a session key that some
	// session has proven, now or earlier.
	ErrKeyTaken = errors.New("session key was proven by another session")
	// ErrOvertaken is returned when a later hello of the same peer was served first: that
	// connection, not this one, is the newest.
	ErrOvertaken = errors.New("a later hello of the same peer was served before")
)

// Arrival is a connection whose hello was read.
type Arrival[C comparable] struct {
	Conn          C
	Addr          netip.Addr
	ID            wire.ID // for the presence, if it is a new one
	Hello         uint64  // grows with every hello, in the order in which they were read
	MemberID      wire.ID
	MemberKey     wire.Key
	SessionKey    wire.Key // zero: a member connection
	Proven        bool     // a session_hello: SessionKey signed it
	DisplayName   string   // for peers to see
	About         *wire.About
	DefaultGroups []wire.Group // the member's, if the hello names none and none are stored
	// Attestation attests a proven session key. It must not be changed afterwards.
	Attestation *wire.Attestation
	// Succeeds are the keys of older sessions that have signed that this one succeeds
	// them, newest first. Keys that the member has not proven are ignored.
	Succeeds []wire.Key
	// Last is the stored record of the Plan's identity, nil if there is none. It is used
	// for a new presence only.
	Last *Record
	// Elder is the stored record of the newest session that it succeeds, nil if there is
	// none. It is used if there is no Last and no presence ends in favour of this one.
	Elder *Record
}

// Plan says what an arrival would lead to.
type Plan struct {
	New       bool     // it is a new presence
	NeedsSlot bool     // the room grows by one: the presence is new, and no older session ends for it
	Identity  Identity // of the presence
}

// How says how an arrival came into the room.
type How int8

// The ways into a room.
const (
	New      How = iota // a new presence: the others are told
	Resumed             // back within the lease: nobody is told
	Replaced            // another connection of an online presence: nobody is told
)

// Joined is the outcome of Join.
type Joined[C comparable] struct {
	Presence *Presence[C]
	How      How
	// OldConn is the connection to close as session_replaced, if How is Replaced.
	OldConn C
	// Displaced is an online presence whose host identity Presence has taken; mostly nil.
	// It stays, under a ClaimedIdentity with a mailbox of its own. What waits in the
	// host's mailbox is now Presence's.
	Displaced *Presence[C]
	// Restored is what was kept of an earlier presence, nil if nothing was.
	Restored *Restored
	// Ended are the presences of older sessions that this one succeeds.
	Ended []Ended[C]
	// Released are the keys that the presence no longer succeeds.
	Released []wire.Key
	// Left is the member that had the presence before, if that was another one; else zero. It may
	// have another home now.
	Left wire.Key
	// StatusChanged reports that a pending hook signal changed the status of a presence
	// that was there before.
	StatusChanged bool
}

// Restored is what a client is told of its earlier presence.
type Restored struct {
	Summary    string
	Groups     []wire.Group
	Stats      json.RawMessage // nil: none
	LastSeenAt time.Time
}

// placement is what an arrival leads to: one of found, displaced or neither.
type placement[C comparable] struct {
	found     *Presence[C] // gets the connection
	displaced *Presence[C] // loses its host identity
	elder     *Record      // of the older session that a new one succeeds; mostly nil
	identity  Identity
}

// Plan says what Join would do, and changes nothing. It relies on the hello alone, so it
// can be called before anything is verified.
func (r *Room[C]) Plan(a *Arrival[C]) Plan {
	at := r.place(a)
	isNew := at.found == nil
	return Plan{New: isNew, NeedsSlot: isNew && len(r.outlived(a, nil)) == 0, Identity: at.identity}
}

// place finds out which presence an arrival is.
//
// Two member connections under one host identity are one of three things: a
// daemon that came back before its half-open socket was found dead, a restarted
// daemon in the same situation, or two daemons on one host. They can't be told
// apart, and closing the older one would let two live daemons throw each other
// out for ever. So nobody is closed. The newest gets the host identity, since
// what waits there would otherwise wait for a dead socket; the older one keeps
// its presence under a ClaimedIdentity until its connection ends. Nothing is lost
// either way: deliveries that the older one has not acknowledged go to the newest,
// and an older one that is alive gets deliveries of its own from then on.
func (r *Room[C]) place(a *Arrival[C]) placement[C] {
	switch {
	case a.Proven:
		if p := r.proven[a.SessionKey]; p != nil {
			return placement[C]{found: p, identity: p.Identity}
		}
		return placement[C]{identity: SessionIdentity(a.SessionKey)}
	case !a.SessionKey.IsZero():
		return r.placeLeased(a, ClaimedIdentity(a.ID))
	case a.About.Hostname == "":
		// Hosts without a name are not the same host.
		return r.placeLeased(a, ClaimedIdentity(a.ID))
	}
	host := HostIdentity(a.MemberKey, a.About.Hostname)
	at := r.placeLeased(a, host)
	holder := r.identity[host]
	switch {
	case at.found != nil && at.found.Hostname == a.About.Hostname, holder == nil:
		return at
	case holder.Online && a.Hello < holder.hello:
		return placement[C]{identity: ClaimedIdentity(a.ID)}
	case holder.Online:
		return placement[C]{displaced: holder, identity: host}
	}
	return placement[C]{found: holder, identity: host}
}

// placeLeased looks for a leased presence with the arrival's member, session id and
// (claimed or absent) session key, preferably on the same host. A session id alone never
// affects an online one.
func (r *Room[C]) placeLeased(a *Arrival[C], otherwise Identity) placement[C] {
	var found *Presence[C]
	for _, p := range r.session[a.About.SessionID] {
		if p.Online || p.Proven || p.MemberKey != a.MemberKey || p.SessionKey != a.SessionKey ||
			p.claim != !a.SessionKey.IsZero() {
			continue
		}
		sameHost := p.Hostname == a.About.Hostname
		if found == nil || sameHost && found.Hostname != a.About.Hostname ||
			sameHost == (found.Hostname == a.About.Hostname) && p.attach > found.attach {
			found = p
		}
	}
	if found == nil {
		return placement[C]{identity: otherwise}
	}
	return placement[C]{found: found, identity: found.Identity}
}

// Join lets a verified arrival in. It returns ErrCapacity if the room has limit presences
// and would need another, ErrKeyTaken or ErrOvertaken; the room is unchanged then.
func (r *Room[C]) Join(a *Arrival[C], limit int, now time.Time) (Joined[C], error) {
	at := r.place(a)
	if at.found != nil && a.Hello < at.found.hello {
		return Joined[C]{}, ErrOvertaken
	}
	over := r.outlived(a, at.found)
	if at.found == nil && len(r.list)-len(over) >= limit {
		return Joined[C]{}, ErrCapacity
	}
	if _, taken := r.known[a.SessionKey]; taken && !a.Proven {
		return Joined[C]{}, ErrKeyTaken
	}
	if a.Proven {
		r.prove(a)
	}
	ended := r.endAll(over, now)
	var j Joined[C]
	if at.found != nil {
		j = r.takeOver(at.found, a)
	} else {
		at.elder = a.Elder
		if len(ended) > 0 {
			at.elder = &ended[0].Presence.Record
		}
		j = r.enter(at, a, now)
	}
	j.Ended = ended
	p := j.Presence
	p.Conn, p.Online, p.LeaseUntil = a.Conn, true, time.Time{}
	p.Addr, p.LastSeenAt = a.Addr.Unmap(), now
	r.attached++
	p.attach, p.hello = r.attached, a.Hello
	r.mayBeHome(p)
	r.changed(p)
	before := p.Status
	r.applyPending(p, j.How == New, now)
	j.StatusChanged = j.How != New && p.Status != before
	return j, nil
}

// prove makes the key known and takes it from presences that merely claim it. Those stay,
// under their member keys.
func (r *Room[C]) prove(a *Arrival[C]) {
	r.known[a.SessionKey] = Known{a.SessionKey, a.MemberID, a.DisplayName}
	delete(r.doubtful, a.SessionKey)
	for _, p := range slices.Clone(r.claimed[a.SessionKey]) {
		r.claimed.remove(a.SessionKey, p)
		p.SessionKey = wire.Key{}
		r.changed(p)
	}
}

// takeOver gives an existing presence to an arrival.
func (r *Room[C]) takeOver(p *Presence[C], a *Arrival[C]) Joined[C] {
	j := Joined[C]{Presence: p, How: Resumed}
	lastSeen := p.LastSeenAt
	if p.Online {
		j.How, j.OldConn = Replaced, p.Conn
	}
	r.notHome(p)
	r.unlink(p)
	if p.MemberKey != a.MemberKey {
		j.Left = p.MemberKey
		if !p.Visible {
			p.hiddenAt = r.version + 1 // from the member whose session it was
		}
	}
	p.describe(a)
	before := p.Succeeds
	p.Succeeds = r.heritage(a)
	for _, old := range before {
		if !slices.Contains(p.Succeeds, old) {
			j.Released = append(j.Released, old)
		}
	}
	if len(a.About.Groups) > 0 {
		p.Groups = cleanGroups(a.About.Groups)
	}
	r.link(p)
	if j.How == Resumed {
		j.Restored = p.restored(lastSeen)
	}
	return j
}

// enter makes a new presence for an arrival.
func (r *Room[C]) enter(at placement[C], a *Arrival[C], now time.Time) Joined[C] {
	p := &Presence[C]{
		Record: Record{
			MeshID:      r.meshID,
			Identity:    at.identity,
			ID:          a.ID,
			SessionKey:  a.SessionKey,
			Proven:      a.Proven,
			Role:        wire.RoleControlPlane,
			Status:      wire.Idle,
			Source:      JSONL,
			StatusAt:    now,
			Visible:     true,
			ConnectedAt: now,
		},
		LastActive: now,
		claim:      !a.Proven && !a.SessionKey.IsZero(),
	}
	if a.Proven {
		p.Role = wire.RoleSession
	}
	j := Joined[C]{Presence: p, How: New}
	last := a.Last
	if at.displaced != nil {
		last = r.displace(at.displaced, a)
		j.Displaced = at.displaced
	}
	p.describe(a)
	p.Succeeds = r.heritage(a)
	p.Groups = cleanGroups(a.DefaultGroups)
	switch {
	case last != nil:
		p.recall(last)
	case at.elder != nil:
		p.inherit(at.elder)
	}
	if len(a.About.Groups) > 0 {
		p.Groups = cleanGroups(a.About.Groups)
	}
	if last != nil {
		j.Restored = p.restored(last.LastSeenAt)
	}
	r.add(p)
	return j
}

// displace gives an online presence a ClaimedIdentity. It returns the record from
// which the newcomer goes on, if they are the same process.
func (r *Room[C]) displace(p *Presence[C], a *Arrival[C]) *Record {
	// The newcomer's record replaces this one's under the host identity.
	delete(r.identity, p.Identity)
	p.Identity = ClaimedIdentity(p.ID)
	r.identity[p.Identity] = p
	r.changed(p)
	if p.SessionID != a.About.SessionID {
		return nil
	}
	return &p.Record
}

// describe updates a presence from a hello. A field that the hello omits keeps its value.
func (p *Presence[C]) describe(a *Arrival[C]) {
	p.MemberID, p.MemberKey, p.DisplayName = a.MemberID, a.MemberKey, a.DisplayName
	p.SessionID, p.PID, p.Cwd = a.About.SessionID, a.About.PID, a.About.Cwd
	p.Attestation, p.SealedGroups = a.Attestation, a.About.Has(wire.CapSealedGroups)
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&p.Hostname, a.About.Hostname},
		{&p.PeerType, a.About.PeerType},
		{&p.Channel, a.About.Channel},
		{&p.Model, a.About.Model},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
}

// recall restores an earlier presence of the same identity. Of its status it keeps only
// dnd, which nothing but set_status ends. A hidden presence stays hidden.
func (p *Presence[C]) recall(last *Record) {
	p.inherit(last)
	p.Summary, p.Stats = last.Summary, last.Stats
}

func (p *Presence[C]) restored(lastSeen time.Time) *Restored {
	return &Restored{Summary: p.Summary, Groups: p.Groups, Stats: p.Stats, LastSeenAt: lastSeen}
}

// cleanGroups returns a copy with one entry per name, with the last role given, and no more
// entries than a presence may have.
func cleanGroups(groups []wire.Group) []wire.Group {
	var clean []wire.Group
	for _, g := range groups {
		if i := indexGroup(clean, g.Name); i >= 0 {
			clean[i].Role = g.Role
		} else if len(clean) < wire.MaxGroups {
			clean = append(clean, g)
		}
	}
	return clean
}

func indexGroup(groups []wire.Group, name string) int {
	return slices.IndexFunc(groups, func(g wire.Group) bool { return g.Name == name })
}
