package simulation

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// aim is the kind of target of a message.
type aim int

const (
	atSession aim = iota
	atMember
	atGroup
	atAll
)

// intent is a message that a peer wants to deliver, with all attempts to send it.
type intent struct {
	id       string // client_message_id
	from     *peer
	index    int // among the sender's
	priority wire.Priority
	aim      aim
	target   *peer  // for atSession and atMember; for atMember, the member's first peer
	group    string // for atGroup
	body     string

	must map[*peer]bool // for atGroup and atAll: the peers that certainly get it
	may  map[*peer]bool // the peers that may get it

	tries     int
	first     time.Time // the time of the first attempt
	loose     bool      // refused at least once, or lost in a crash: it may come under two ids
	retried   bool      // sent more than once: the sender has changed its place in the order
	safe      bool
	safeAt    time.Time
	lapsed    bool // it may have expired before the clock was set back
	forgotten bool // a crash has lost it after it was safe
	known     bool // the target's key had been here before the first attempt
	dead      bool // refused for good
	id1       wire.ID
	ids       map[string]map[wire.ID]bool // by delivery
	got       map[*peer]bool
	answered  map[*peer]bool                   // the peers that have sent an acknowledgement
	acks      map[wire.ID]map[string]time.Time // certain acknowledgements, by message id and delivery
}

// sent is an attempt to send a message over one connection.
type sent struct {
	at   time.Time
	size int
}

// orderKey identifies a sequence of messages that stays in order.
type orderKey struct {
	from   *peer
	box    string
	urgent bool
}

// box names the mailbox that the message goes through on its way to p.
func (m *intent) box(p *peer) string {
	switch m.aim {
	case atSession:
		return string(m.target.identity())
	case atMember:
		return "m/" + m.target.member.keys.Public().String()
	}
	return string(p.identity())
}

func (m *intent) spec() any {
	switch m.aim {
	case atSession:
		return m.target.key().String()
	case atMember:
		return m.target.member.keys.Public().String()
	case atGroup:
		return "@" + m.group
	}
	return "*"
}

// intendLocked records a new message from p.
func (p *peer) intendLocked(s step, size int) *intent {
	w := p.world
	m := &intent{
		id: fmt.Sprintf("%s-%d", p.name, len(p.intents)), from: p, index: len(p.intents),
		priority: []wire.Priority{wire.Now, wire.Next, wire.Low}[s.arg%3],
		must:     make(map[*peer]bool), may: make(map[*peer]bool), ids: make(map[string]map[wire.ID]bool),
		got: make(map[*peer]bool), answered: make(map[*peer]bool), acks: make(map[wire.ID]map[string]time.Time),
	}
	m.body = base64.StdEncoding.EncodeToString([]byte(m.id + strings.Repeat(".", size)))
	others := w.inMesh(p.member.mesh)
	m.target = others[s.arg%len(others)]
	switch n := s.mode; {
	case n < 5 && !m.target.daemon():
		m.aim = atSession
	case n < 7:
		m.aim = atMember
	case n < 9:
		m.aim, m.group = atGroup, groupNames[s.arg%len(groupNames)]
	default:
		m.aim = atAll
	}
	p.intents = append(p.intents, m)
	w.intents = append(w.intents, m)
	w.byID[m.id] = m
	return m
}

// tryLocked sends the message over c.
func (m *intent) tryLocked(c *conn) {
	now := time.Now()
	if m.dead {
		return
	}
	m.tries++
	if m.tries == 1 {
		m.first = now
		for _, p := range c.peer.world.inMesh(m.from.member.mesh) {
			m.must[p] = true
		}
	} else if !m.safe {
		m.retried = true
		m.first = earlier(m.first, now) // the clock may have been set back since
		// The broker may have refused it, even if the sender has not read the refusal.
		m.loose = m.loose || c.peer.world.server.fairFor() < now.Sub(m.first)+margin
	}
	m.refine(now)
	m.known = m.target.met && (m.tries == 1 || m.known) // an answer may be to an earlier attempt
	c.stir()
	c.sendLocked(map[string]any{
		"type": wire.TypeSend, "id": m.id, "client_message_id": m.id, "targetSpec": m.spec(), "priority": string(m.priority),
		"nonce": "bm9uY2U=", "ciphertext": m.body,
	}, true)
	c.sends[fmt.Sprint("r", c.serial)] = sent{now, len(m.body)}
}

// refine updates must and may of a message whose fate is open. The broker may accept it at any
// moment between the first attempt and the ack, so refine removes from must the peers that do not
// get it at this moment, and adds to may the peers that do.
func (m *intent) refine(now time.Time) {
	if m.tries == 0 || m.safe {
		return
	}
	for _, p := range m.from.world.inMesh(m.from.member.mesh) {
		sure, maybe := m.concerns(p, now)
		if !sure {
			delete(m.must, p)
		}
		if maybe {
			m.may[p] = true
		}
	}
}

// concerns reports whether the message surely, or maybe, goes to p if it is accepted now.
func (m *intent) concerns(p *peer, now time.Time) (sure, maybe bool) {
	switch m.aim {
	case atSession:
		return p == m.target, p == m.target || p.mayInherit(m.target)
	case atMember:
		return false, p.member == m.target.member
	}
	if p.member == m.from.member {
		return false, false
	}
	sure, maybe = p.surely(now) && p.presence.half == whole, p.possibly(now)
	if p.hiding > 0 {
		sure = false
	} else if !p.visible {
		return false, maybe && p.twins // the other presence may still be visible
	}
	if m.aim == atGroup {
		surelyIn, maybeIn := p.in(m.group)
		return sure && surelyIn, maybe && (maybeIn || p.twins)
	}
	return sure, maybe
}

// in reports whether p is surely, or maybe, in a group or one below it.
func (p *peer) in(group string) (sure, maybe bool) {
	for _, g := range groupNames {
		if g == group || strings.HasPrefix(g, group+"/") {
			sure = sure || p.groups[g] && !p.unsure[g]
			maybe = maybe || p.groups[g] || p.unsure[g]
		}
	}
	return sure, maybe
}

// mayInherit reports whether p succeeds old, or has ever succeeded it.
func (p *peer) mayInherit(old *peer) bool { return slices.Contains(p.elders, old) }

// aloneWith reports whether the broker can have pushed the message to p only.
func (m *intent) aloneWith(p *peer, now time.Time) bool {
	if m.aim == atSession && m.target == p {
		return true
	}
	if m.aim >= atGroup {
		return len(p.elders) == 0 && !p.twins // otherwise it may have come twice, once for another peer
	}
	for _, other := range p.world.inMesh(p.member.mesh) {
		if other != p && other.member == p.member && (other.possibly(now) || m.got[other]) {
			return false
		}
	}
	return true
}

// notInFlight reports whether the broker may have forgotten that it pushed the message to p at a
// given time. This happens if the message is addressed to a session that p succeeds, and that
// session has come back and was lost since. While the session was leased, no connection served its
// mailbox, so the broker forgot what was in flight there. The broker ignores an acknowledgement
// that comes before it has read the mailbox again, and delivers the message again: at least once.
func (m *intent) notInFlight(p *peer, at time.Time) bool {
	old := m.target
	return m.aim == atSession && old != p && later(old.cutAt, old.haunted).After(at)
}

// expired reports whether the message may have waited too long.
func (m *intent) expired(now time.Time) bool {
	return m.lapsed || now.Sub(m.first) > retention-30*time.Second
}

// arrive checks a push of the message to c.
func (m *intent) arrive(c *conn, id wire.ID, push *wire.Push) {
	p, w, now := c.peer, c.peer.world, time.Now()
	if _, maybe := m.concerns(p, now); !maybe && !m.may[p] && !slices.ContainsFunc(p.elders, func(old *peer) bool { return m.may[old] }) {
		w.violateLocked("4: %s came to %s", m, p.name)
	}
	if push.Ciphertext != m.body || push.Priority != m.priority || push.SenderPubkey != m.from.key() || push.MeshID != p.member.mesh {
		w.violateLocked("4: %s came to %s changed", m, p.name)
	}
	to := m.box(p)
	again := m.aim >= atGroup && !m.aloneWith(p, now) // this push may be for another peer
	if at, ok := m.acks[id][to]; ok && !again && !c.stale(at) {
		w.violateLocked("2: %s came to %s again after it was acknowledged at %s", m, p.name, clock(at))
	}
	if m.ids[to] == nil {
		m.ids[to] = make(map[wire.ID]bool)
	}
	m.ids[to][id] = true
	if len(m.ids[to]) > 1 && !m.loose {
		w.violateLocked("2: %s came to %s under two ids", m, p.name)
	}
	if !m.id1.IsZero() && m.id1 != id && !m.loose {
		w.violateLocked("2: %s came to %s under another id than the sender has", m, p.name)
	}
	if now.Sub(m.first) > retention+time.Minute && now.Sub(w.jumped) > time.Minute && w.server.fairFor() > time.Minute && !m.retried && !c.stale(now.Add(-time.Minute)) {
		w.violateLocked("2: %s came to %s long after it had expired", m, p.name)
	}
	p.checkGate(c, m, now)
	m.checkHome(p, now)
	f := c.pushed[id]
	if f == nil {
		f = &pushed{intent: m}
		c.pushed[id] = f
		c.checkOrder(m)
	}
	f.at, f.times = now, f.times+1
	m.got[p] = true
}

// stale reports whether what arrives may have been sent before t.
func (c *conn) stale(t time.Time) bool { return c.frozen || !c.thawed.Before(t) }

// checkGate checks that only urgent messages come to a busy peer.
func (p *peer) checkGate(c *conn, m *intent, now time.Time) {
	status, known := p.statusNow(now)
	if m.priority == wire.Now || !known || status == wire.Idle || c.stale(p.status.since) || !p.status.since.Before(now) {
		return
	}
	p.world.violateLocked("7: %s (%s) came to %s, which has been %s since %s", m, m.priority, p.name, status, clock(p.status.since))
}

// checkHome checks that messages to a member go to its daemon while the daemon is here.
func (m *intent) checkHome(p *peer, now time.Time) {
	if m.aim != atMember || p.daemon() {
		return
	}
	for _, d := range p.world.inMesh(p.member.mesh) {
		if d.daemon() && d.member == p.member && d.presence.online && d.presence.since.Before(m.first) && !d.current().gone &&
			!d.current().link.over() && !p.current().stale(m.first) && d.current().acked.Before(m.first) {
			p.world.violateLocked("4: %s came to %s while %s was here", m, p.name, d.name)
		}
	}
}

// checkOrder checks the order of the first pushes over a connection. A message to several peers may
// have come for another session that the peer succeeds; then it is not known through which mailbox
// the message came.
func (c *conn) checkOrder(m *intent) {
	forElder := m.aim >= atGroup && slices.ContainsFunc(c.peer.elders, func(old *peer) bool { return m.may[old] })
	if m.retried || m.loose || forElder {
		return
	}
	key := orderKey{m.from, m.box(c.peer), m.priority == wire.Now}
	if last, ok := c.last[key]; ok && m.index < last {
		c.peer.world.violateLocked("2: %s came to %s after message %d of the same sender", m, c.peer.name, last)
	}
	c.last[key] = max(c.last[key], m.index)
}

func (m *intent) String() string {
	to := fmt.Sprint(m.spec())
	if m.aim <= atMember {
		to = m.target.name
		if m.aim == atMember {
			to = "member of " + to
		}
	}
	return fmt.Sprintf("message %s to %s", m.id, to)
}
