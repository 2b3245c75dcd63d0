package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// patience is the time that the broker may take to answer while the storage does not answer.
	patience = 25 * time.Second
	// parked is the number of bytes that a connection may send before the broker stops reading it.
	parked = 1 << 20
	// calm is the time without faults after which nothing may be left to do.
	calm = 5 * time.Second
	// backlogLimit is the number of bytes that may wait to be written to one connection: the
	// windows of two mailboxes, and some more.
	backlogLimit = 5 << 19
)

// resolve replaces doubts by certainty where a rest allows it.
func (w *world) resolve() {
	now := time.Now()
	for _, p := range w.cast {
		m := &p.presence
		if m.half == brief && now.Sub(p.cutAt) > calm && w.server.fairFor() > patience {
			m.half = whole
		}
		if m.half == open && p.current() != nil && now.After(p.twin) || m.half == swapped && !p.possibly(now) {
			m.half = whole
		}
		c := p.current()
		if !m.doubt || c == nil || !c.alive() || c.frozen || c.link.over() || len(c.effects) > 0 {
			continue
		}
		if !p.threatened() { // it has survived everything that could have ended it
			m.doubt, m.since = false, now
		}
	}
}

// threatened reports whether a hello is on its way that may end p's presence.
func (p *peer) threatened() bool {
	for _, heir := range p.world.cast {
		if heir != p && !heir.mayInherit(p) {
			continue
		}
		for _, c := range heir.conns {
			if !c.hello.IsZero() && (c.acked.IsZero() || heir != p && !c.acked.Before(time.Now())) {
				return true
			}
		}
	}
	return p.lingers(p.cursed)
}

// checkRest checks what must hold at every rest.
func (w *world) checkRest() {
	now := time.Now()
	stats := w.broker.Stats()
	if stats.Panics > 0 {
		w.violateLocked("11: the broker has panicked")
	}
	if stats.Backlog > backlogLimit {
		w.violateLocked("11: %d bytes wait for one connection", stats.Backlog)
	}
	for _, p := range w.cast {
		for _, c := range p.conns {
			if !c.gone && !c.frozen && !c.link.over() {
				c.checkAnswers(now)
			}
		}
		if c := p.current(); c != nil && c.calm(now) {
			c.checkDelivered(now)
		}
	}
}

// unread reports whether the broker may have stopped reading the connection for now: because its
// park is full, or because it asks the storage for the status of a message.
func (c *conn) unread() bool {
	size := 0
	for _, s := range c.sends {
		size += s.size
	}
	return size > parked/2 || len(c.tracks) > 0
}

// checkAnswers checks that the broker has answered everything in time.
func (c *conn) checkAnswers(now time.Time) {
	w, p := c.peer.world, c.peer
	limit := patience
	if w.server.fairFor() > calm {
		limit = calm
	}
	for id, at := range c.requests {
		if now.Sub(later(at, c.thawed)) > limit && !c.polite {
			w.violateLocked("11: request %s of %s has had no answer since %s", id, p.name, clock(at))
		}
	}
	if at, asked := c.requests["sync"]; asked && now.After(later(at, c.thawed)) && c.alive() && !c.polite && !c.unread() {
		w.violateLocked("11: %s is not served while its sends wait: its request has had no answer since %s", p.name, clock(at))
	}
	switch {
	case c.replaced && c.thawed.Before(now):
		w.violateLocked("5: the old connection of %s is open after its presence was taken over", p.name)
	case c.hello.IsZero() && now.Sub(c.born) > helloTimeout+margin:
		w.violateLocked("11: a connection that says nothing has been open since %s", clock(c.born))
	case !c.hello.IsZero() && c.acked.IsZero() && now.Sub(later(c.hello, c.thawed)) > patience:
		w.violateLocked("11: a hello of %s has had no answer since %s", p.name, clock(c.hello))
	case c.polite && now.Sub(c.born) > patience && now.Sub(c.left) > patience:
		w.violateLocked("11: the goodbye of %s has had no answer", p.name)
	}
}

// calm reports whether everything that c must receive has had the time to come.
func (c *conn) calm(now time.Time) bool {
	return c.peer.world.server.fairFor() > calm && c.alive() && !c.polite && !c.frozen && !c.link.over() &&
		now.Sub(later(c.acked, c.thawed)) > calm && !c.peer.presence.doubt
}

// checkDelivered checks that all messages that c must receive have come, and that they come again
// as long as they are not acknowledged.
func (c *conn) checkDelivered(now time.Time) {
	p, w := c.peer, c.peer.world
	byIntent := make(map[*intent]*pushed)
	waiting := 0
	for _, f := range c.pushed {
		if old := byIntent[f.intent]; old == nil || old.at.Before(f.at) {
			byIntent[f.intent] = f
		}
		if !f.acked {
			waiting++
		}
	}
	if waiting > 100 || p.flooded {
		return // the window may be full
	}
	status, known := p.statusNow(now)
	idle := known && status == wire.Idle && now.Sub(p.status.since) > calm
	for _, m := range w.intents {
		if !m.safe || now.Sub(m.safeAt) < calm || m.expired(now) || m.answered[p] || !m.mustReach(p) || !idle && m.priority != wire.Now {
			continue
		}
		switch f := byIntent[m]; {
		case f == nil:
			w.violateLocked("1/3/7: %s (%s) has been safe since %s, but has not come to %s", m, m.priority, clock(m.safeAt), p.name)
		case now.Sub(f.at) > c.longestLease()+calm:
			w.violateLocked("2: %s came to %s at %s, was not acknowledged, and did not come again", m, p.name, clock(f.at))
		}
	}
}

// longestLease is the longest time that the broker may wait for an acknowledgement over c: the
// lease doubles with each redelivery to a mailbox.
func (c *conn) longestLease() time.Duration {
	lease := deliveryLease
	for _, f := range c.pushed {
		lease = max(lease, deliveryLease<<min(f.times, 10))
	}
	return min(lease, time.Hour)
}

// mustReach reports whether p itself must get the message, whatever its target is.
func (m *intent) mustReach(p *peer) bool {
	for other := range m.got {
		if other.mayInherit(p) {
			return false // the successor has it in p's place
		}
	}
	if p.mixed {
		return false // it may wait for the other presence, or have ended with it
	}
	switch m.aim {
	case atSession:
		return m.target == p
	case atMember:
		return false // it goes to the member's home: see settle
	}
	return m.must[p]
}

// settle lets everything finish: the storage works, and every peer is here, idle and diligent. Then
// nothing may be left to do.
func (w *world) settle() {
	w.enter("the end")
	w.server.turn(fair)
	time.Sleep(presenceLease)
	for round := range 2 {
		w.mu.Lock()
		for _, p := range w.cast {
			p.mood = diligent
			if round == 1 {
				p.succeeds = nil // so that all can be here at once
			}
			for _, c := range slices.Clone(p.conns) {
				c.drop(true)
			}
		}
		w.mu.Unlock()
		w.pause(time.Second)
		w.mu.Lock()
		for _, p := range w.cast {
			p.connect(nil)
		}
		w.mu.Unlock()
		w.pause(calm)
		w.mu.Lock()
		for _, p := range w.cast {
			if c := p.current(); c != nil {
				c.setStatus(wire.Idle, false)
			}
		}
		w.mu.Unlock()
		w.pause(2 * calm)
	}
	for range 3 {
		w.pause(deliveryLease + 2*time.Second)
	}
	if !w.isBroken() {
		w.checkEnd()
	}
}

// checkEnd checks that nothing is left to do.
func (w *world) checkEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, p := range w.cast {
		if c := p.current(); c == nil || !c.alive() {
			w.violateLocked("11: %s can't come back", p.name)
		}
	}
	for _, m := range w.intents {
		if m.tries == 0 || m.dead {
			continue
		}
		if !m.safe {
			w.violateLocked("1: %s is not safe although the storage is well", m)
		}
		if m.expired(now) {
			continue
		}
		for _, p := range w.inMesh(m.from.member.mesh) {
			if m.aim >= atGroup && m.mustReach(p) && !m.got[p] {
				w.violateLocked("3: %s never came to %s", m, p.name)
			}
		}
		if m.aim < atGroup && len(m.got) == 0 {
			w.violateLocked("1: %s never came", m)
		}
	}
	left := w.server.pending()
	for _, p := range w.cast {
		if p.twins { // messages for the presence that has ended wait until another one succeeds it
			delete(left, queue.Mailbox{Mesh: p.member.mesh, Name: string(p.identity())})
		}
	}
	if len(left) > 0 {
		w.violateLocked("2: still waiting in the storage: %q", left)
	}
	w.checkNothingHeld()
	logs, err := w.server.disk.AuditLogs(context.Background())
	for _, l := range logs {
		_, bad := audit.VerifyMesh(context.Background(), w.server.disk, l.Mesh)
		err = errors.Join(err, bad)
	}
	if err != nil {
		w.violateLocked("9: %v", err)
	}
}

// checkNothingHeld checks that the broker keeps nothing in memory that is finished.
func (w *world) checkNothingHeld() {
	stats := w.broker.Stats()
	boxes := 0
	for _, p := range w.cast {
		boxes += 2 + len(p.elders) // its own mailbox, its member's, and those of the sessions that it has succeeded
	}
	if stats.Queue.Open > 0 || stats.Journal.Waiting > 0 || stats.Parked > 0 || stats.Connections != len(w.cast) || stats.Presences != len(w.cast) ||
		stats.Queue.Mailboxes > boxes || stats.Backlog > 0 {
		w.violateLocked("11: left in memory, with %d connections: %+v", len(w.cast), stats)
	}
}
