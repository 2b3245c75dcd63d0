package presence

import "time"

// Departure is what the end of a connection led to.
type Departure int8

// The outcomes of Drop.
const (
	Stale  Departure = iota // the connection had been replaced: nothing happened
	Leased                  // the presence stays for the lease: nobody is told
	Left                    // the presence ended: the others are told
)

// Drop handles an abnormal end of p's connection conn: p is leased until now + lease. If
// another connection has replaced conn, nothing happens.
//
// A member connection whose own process is already back under the host identity
// ends at once: it was a half-open socket, and no client will return to it.
func (r *Room[C]) Drop(p *Presence[C], conn C, now time.Time, lease time.Duration) Departure {
	if !r.holds(p, conn) {
		return Stale
	}
	p.LastSeenAt = now
	if r.succeeded(p) {
		r.end(p, now)
		return Left
	}
	var none C
	p.Conn, p.Online, p.LeaseUntil = none, false, now.Add(lease)
	r.notHome(p)
	r.changed(p)
	return Leased
}

// Leave handles a clean close of conn by its client: p ends, unless another connection has
// replaced conn. It reports whether p ended.
func (r *Room[C]) Leave(p *Presence[C], conn C, now time.Time) bool {
	if !r.holds(p, conn) {
		return false
	}
	p.LastSeenAt = now
	r.end(p, now)
	return true
}

// End ends p, online or leased, by the broker's decision: its member was removed, or an
// admin sent it away. It reports whether p was in the room.
func (r *Room[C]) End(p *Presence[C], now time.Time) bool {
	if !r.live(p) {
		return false
	}
	if p.Online {
		p.LastSeenAt = now
	}
	r.end(p, now)
	return true
}

// ExpireLeases ends the presences whose lease is over at now and returns them,
// oldest first.
func (r *Room[C]) ExpireLeases(now time.Time) []*Presence[C] {
	var over []*Presence[C]
	for _, p := range r.list {
		if !p.Online && !now.Before(p.LeaseUntil) {
			over = append(over, p)
		}
	}
	for _, p := range over {
		r.end(p, now)
	}
	return over
}

// holds reports whether conn is the connection of a live p.
func (r *Room[C]) holds(p *Presence[C], conn C) bool {
	return r.live(p) && p.Online && p.Conn == conn
}

// succeeded reports whether the process behind a displaced member connection has
// another connection, under the host identity.
func (r *Room[C]) succeeded(p *Presence[C]) bool {
	if p.Identity.Returns() || p.claim || p.Hostname == "" {
		return false
	}
	holder := r.identity[HostIdentity(p.MemberKey, p.Hostname)]
	return holder != nil && holder != p && holder.SessionID == p.SessionID
}
