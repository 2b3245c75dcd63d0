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
	// patience is how long an answer may take when the storage does not answer.
	patience = 25 * time.Second
	// parked is how much a connection may send before it is not read any more.
	parked = 1 << 20
	// calm is how long things must have been well before everything must be done.
	calm = 5 * time.Second
	// backlogLimit is what may wait to be written to one connection: the windows of
	// two mailboxes, and then some.
	backlogLimit = 5 << 19
)

// resolve ends doubts that rest has settled.
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
		if !p.threatened() { // it has outlived what could have ended it
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

// checkRest checks what must be so whenever things have come to rest.
func (w *world) checkRest() {
	now := time.Now()
	stats := w.broker.Stats()
	if stats.Panics > 0 {
		w.violate("11: the broker has panicked")
	}
	if stats.Backlog > backlogLimit {
		w.violate("11: %d bytes wait for one connection", stats.Backlog)
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

// unread reports whether the broker may not be reading the connection for now: as much
// waits as may, or it asks the storage how far a message came.
func (c *conn) unread() bool {
	size := 0
	for _, s := range c.sends {
		size += s.size
	}
	return size > parked/2 || len(c.tracks) > 0
}

// checkAnswers checks that nothing is left unanswered.
func (c *conn) checkAnswers(now time.Time) {
	w, p := c.peer.world, c.peer
	limit := patience
	if w.server.fairFor() > calm {
		limit = calm
	}
	for id, at := range c.requests {
		if now.Sub(later(at, c.thawed)) > limit && !c.polite {
			w.violate("11: request %s of %s has had no answer since %s", id, p.name, clock(at))
		}
	}
	if at, asked := c.requests["sync"]; asked && now.After(later(at, c.thawed)) && c.alive() && !c.polite && !c.unread() {
		w.violate("11: %s is not served while its sends wait: it asks since %s", p.name, clock(at))
	}
	switch {
	case c.replaced && c.thawed.Before(now):
		w.violate("5: the old connection of %s is open after its presence was taken over", p.name)
	case c.hello.IsZero() && now.Sub(c.born) > helloTimeout+margin:
		w.violate("11: a connection that says nothing has been open since %s", clock(c.born))
	case !c.hello.IsZero() && c.acked.IsZero() && now.Sub(later(c.hello, c.thawed)) > patience:
		w.violate("11: a hello of %s has had no answer since %s", p.name, clock(c.hello))
	case c.polite && now.Sub(c.born) > patience && now.Sub(c.left) > patience:
		w.violate("11: the goodbye of %s has had no answer", p.name)
	}
}

// calm reports whether everything that c must get has had the time to come.
func (c *conn) calm(now time.Time) bool {
	return c.peer.world.server.fairFor() > calm && c.alive() && !c.polite && !c.frozen && !c.link.over() &&
		now.Sub(later(c.acked, c.thawed)) > calm && !c.peer.presence.doubt
}

// checkDelivered checks that what must have come over c has come, and comes again as
// long as it is not acknowledged.
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
			w.violate("1/3/7: %s (%s) is safe since %s and has not come to %s", m, m.priority, clock(m.safeAt), p.name)
		case now.Sub(f.at) > c.longestLease()+calm:
			w.violate("2: %s came to %s at %s, was not acknowledged and did not come again", m, p.name, clock(f.at))
		}
	}
}

// longestLease is how long the broker may wait for an acknowledgement over c at most:
// the lease doubles with each repetition to a mailbox.
func (c *conn) longestLease() time.Duration {
	lease := deliveryLease
	for _, f := range c.pushed {
		lease = max(lease, deliveryLease<<min(f.times, 10))
	}
	return min(lease, time.Hour)
}

// mustReach reports whether p itself must get the message, wherever it came from.
func (m *intent) mustReach(p *peer) bool {
	for other := range m.got {
		if other.mayInherit(p) {
			return false // it has it in p's place
		}
	}
	if p.mixed {
		return false // it may wait for the other one, or have gone with it
	}
	switch m.aim {
	case atSession:
		return m.target == p
	case atMember:
		return false // whoever of the member is home: see settle
	}
	return m.must[p]
}

// settle lets everything come to an end: the storage is well, everybody is here, idle
// and diligent. Then everything must be done.
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
			w.violate("11: %s can't come back", p.name)
		}
	}
	for _, m := range w.intents {
		if m.tries == 0 || m.dead {
			continue
		}
		if !m.safe {
			w.violate("1: %s is not safe although the storage is well", m)
		}
		if m.expired(now) {
			continue
		}
		for _, p := range w.inMesh(m.from.member.mesh) {
			if m.aim >= atGroup && m.mustReach(p) && !m.got[p] {
				w.violate("3: %s never came to %s", m, p.name)
			}
		}
		if m.aim < atGroup && len(m.got) == 0 {
			w.violate("1: %s never came", m)
		}
	}
	left := w.server.pending()
	for _, p := range w.cast {
		if p.twins { // what waited for the one that is no more waits for the next to come after the other
			delete(left, queue.Mailbox{Mesh: p.member.mesh, Name: string(p.identity())})
		}
	}
	if len(left) > 0 {
		w.violate("2: still waiting in the storage: %q", left)
	}
	w.checkNothingHeld()
	meshes, err := w.server.disk.AuditMeshes(context.Background())
	for _, id := range meshes {
		_, bad := audit.VerifyMesh(context.Background(), w.server.disk, id)
		err = errors.Join(err, bad)
	}
	if err != nil {
		w.violate("9: %v", err)
	}
}

// checkNothingHeld checks that the broker keeps nothing in memory that is done with.
func (w *world) checkNothingHeld() {
	stats := w.broker.Stats()
	boxes := 0
	for _, p := range w.cast {
		boxes += 2 + len(p.elders) // its own, its member's and those of the sessions before it
	}
	if stats.Queue.Open > 0 || stats.Journal.Waiting > 0 || stats.Parked > 0 || stats.Connections != len(w.cast) || stats.Presences != len(w.cast) ||
		stats.Queue.Mailboxes > boxes || stats.Backlog > 0 {
		w.violate("11: left in memory, with %d connections: %+v", len(w.cast), stats)
	}
}
