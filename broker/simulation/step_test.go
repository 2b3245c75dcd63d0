package simulation

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

var statuses = []wire.Status{wire.Idle, wire.Working, wire.DND, wire.Working}

// do executes a step. A step that makes no sense in the present state does nothing.
func (w *world) do(s step) {
	p := w.cast[s.peer%len(w.cast)]
	switch s.kind {
	case wait:
		return
	case turn:
		w.server.turn([]weather{fair, slow, failing, frozen, fair, fair}[s.mode%6])
		return
	case crash:
		w.crash(s.mode%2 == 0, []time.Duration{0, 0, 0, 0, time.Hour, -time.Hour}[s.mode%6])
		return
	case restart:
		w.restart()
		return
	case usurp:
		w.usurp(time.Duration(s.arg) * 6 * time.Millisecond)
		return
	case hook:
		w.hook(p, statuses[s.mode%4])
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doLine(p, s) {
		return
	}
	if c := p.current(); c != nil && !c.gone && !c.polite {
		c.do(s)
	}
}

// doLine executes the steps that concern the line and not what is sent over it. It reports whether
// s is such a step.
func (w *world) doLine(p *peer, s step) bool {
	c := p.latest()
	switch s.kind {
	case connect:
		p.connect(nil)
	case connectCut:
		p.connect(func(l *link) { l.limit(s.mode%2 == 0, 1+s.arg) })
	case connectWrong:
		p.connectWrong(s.mode)
	case dialOnly:
		p.dialLocked()
	case mooded:
		p.mood = mood(s.arg % 3)
	case succeed:
		others := w.inMesh(p.member.mesh)
		old := others[s.arg%len(others)]
		if old != p && !p.daemon() && !old.daemon() && old.member == p.member && !p.mayInherit(old) {
			p.succeeds, p.elders = append(p.succeeds, old), append(p.elders, old)
		}
	case hangUp, cut, cutAfter, vanish, freeze, thaw:
		if c != nil && !c.gone && !c.ended {
			c.disturb(s)
		}
	default:
		return false
	}
	return true
}

// disturb does something to a connection.
func (c *conn) disturb(s step) {
	switch s.kind {
	case hangUp:
		c.hangUp()
	case cut:
		c.drop(s.mode%2 == 0)
	case cutAfter:
		c.link.limit(s.mode%2 == 0, 1+s.arg%700)
	case vanish:
		c.gone = true
		c.link.vanish()
	case freeze:
		if !c.frozen {
			c.frozen, c.since = true, time.Now()
		}
		c.link.freeze(true)
	case thaw:
		if c.frozen {
			c.frozen, c.thawed = false, time.Now()
			if c.forsaken() && c.peer.current() == c {
				c.peer.presence.doubt = true // until it is known which one has the presence
			}
			c.link.freeze(false)
		}
	}
}

// connect sends a hello on a new connection. It calls first with the new line before that.
func (p *peer) connect(first func(*link)) {
	now := time.Now()
	if p.daemon() { // a second line would count as a second daemon on the same host
		for _, c := range slices.Clone(p.conns) {
			c.drop(true)
		}
	}
	possible := p.possibly(now)
	c := p.dialLocked()
	if first != nil {
		first(c.link)
	}
	c.hello, c.possible, c.before, c.groups = now, possible, p.presence.id, maps.Clone(p.groups)
	c.sendLocked(p.helloMessage(now), false)
	for _, old := range p.succeeds {
		old.presence.doubt = true
		old.presence.maybeUntil = later(old.presence.maybeUntil, now.Add(detection+presenceLease))
	}
}

// connectWrong sends a hello that the broker must refuse.
func (p *peer) connectWrong(mode int) {
	now := time.Now()
	hello := p.helloMessage(now)
	last := p.lastTS
	p.lastTS = 0
	switch {
	case mode < 3:
		hello = p.helloMessage(now.Add(time.Hour))
	case mode < 6:
		hello = p.helloMessage(now.Add(-time.Hour))
	case mode < 9 || p.daemon() || !p.met:
		hello["timestamp"] = hello["timestamp"].(int64) + 1 // not what was signed
	default:
		claimer := p.world.inMesh(p.member.mesh)[0].member
		ts, sig := identity.SignHello(claimer.keys, claimer.mesh.String(), claimer.id.String(), now.Add(time.Duration(p.world.luck(now)%1000)*time.Millisecond))
		hello = map[string]any{
			"type": wire.TypeHello, "meshId": claimer.mesh.String(), "memberId": claimer.id.String(), "pubkey": claimer.keys.Public().String(),
			"sessionPubkey": p.keys.Public().String(), "sessionId": "x", "pid": 1, "cwd": "/", "timestamp": ts, "signature": sig.String(),
		}
	}
	p.lastTS = last
	c := p.dialLocked()
	c.wrong, c.hello = true, now
	c.sendLocked(hello, false)
}

// hangUp sends a close frame.
func (c *conn) hangUp() {
	if c.polite {
		return
	}
	p := c.peer
	was := p.current() == c
	c.polite, c.left = true, time.Now()
	c.link.write(encodeFrame(opClose, binary.BigEndian.AppendUint16(nil, 1000)))
	m := &p.presence
	switch {
	case was:
		m.online, m.sureUntil = false, time.Time{}
	case c.acked.IsZero() && !c.hello.IsZero() && !c.wrong:
		m.doubt = true // it may take over the presence before it leaves
	default:
		return
	}
	m.maybeUntil = c.left.Add(detection + presenceLease)
}

// drop cuts the line. If lose is true, what is under way is lost, too.
func (c *conn) drop(lose bool) {
	c.link.cut(lose)
	if c.ended {
		return
	}
	c.ended = true
	c.peer.conns = slices.DeleteFunc(c.peer.conns, func(other *conn) bool { return other == c })
	c.lost(time.Now())
}

// do executes a step of a connected peer.
func (c *conn) do(s step) {
	p := c.peer
	switch s.kind {
	case ackAll, ackForeign:
		c.ackMany(s.kind == ackForeign)
	case send:
		for range 1 + s.arg%3 {
			p.intendLocked(s, 10+s.arg%90).tryLocked(c)
		}
	case flood:
		c.flood(s)
	case surge:
		for i := range 20 + s.arg%40 {
			p.intendLocked(step{arg: s.arg + i%5, mode: s.mode + i%2}, 2_000).tryLocked(c)
		}
	case resend:
		for _, m := range p.intents {
			if p.world.luck(s.index, m.id)%2 == 0 && m.tries > 0 && !m.expired(time.Now()) {
				m.tryLocked(c)
			}
		}
	case setStatus:
		c.setStatus(statuses[s.mode%4], s.mode >= 8)
	case group:
		c.changeGroup(groupNames[s.arg%len(groupNames)])
	case visible:
		p.visible, p.hiding = !p.visible, p.hiding+1
		c.stir()
		c.sendLocked(map[string]any{"type": wire.TypeSetVisible, "visible": p.visible}, true)
		c.hidingReq = fmt.Sprint("r", c.serial)
	case roster:
		q := &rosterQuery{at: time.Now(), absent: make(map[*peer]bool)}
		for _, other := range p.world.inMesh(p.member.mesh) {
			q.absent[other] = !other.possibly(q.at)
		}
		c.sendLocked(map[string]any{"type": wire.TypeListPeers}, true)
		c.rosters[fmt.Sprint("r", c.serial)] = q
	case track:
		for _, m := range p.intents {
			if m.safe {
				c.tracks[fmt.Sprint("r", c.serial+1)] = true
				c.sendLocked(map[string]any{"type": wire.TypeMessageStatus, "messageId": m.id1.String()}, true)
				break
			}
		}
	case junk:
		c.junk(s.mode)
	}
}

// ackMany acknowledges the pushed messages that are not acknowledged yet: those pushed over c or,
// if foreign is true, those pushed to others.
func (c *conn) ackMany(foreign bool) {
	for _, p := range c.peer.world.cast {
		for _, other := range p.conns {
			for _, id := range slices.SortedFunc(maps.Keys(other.pushed), func(a, b wire.ID) int { return slices.Compare(a[:], b[:]) }) {
				switch f := other.pushed[id]; {
				case !foreign && other == c && !f.acked:
					c.acknowledge(id)
				case foreign && p.member != c.peer.member && !f.intent.may[c.peer]:
					c.sendLocked(map[string]any{"type": wire.TypeClientAck, "clientMessageId": f.intent.id, "brokerMessageId": id.String()}, false)
				}
			}
		}
	}
}

// flood sends a session more messages than its window and its line hold. In most cases, the session
// stops reading.
func (c *conn) flood(s step) {
	first := c.peer.intendLocked(step{arg: s.arg - s.arg%3, mode: 0}, 30_000)
	if first.aim != atSession {
		first.target, first.aim = c.peer.world.firstSession(c.peer.member.mesh), atSession
	}
	first.target.flooded = true
	if to := first.target.current(); to != nil && s.mode%4 > 0 {
		to.disturb(step{kind: freeze})
	}
	first.tryLocked(c)
	for range 80 {
		m := c.peer.intendLocked(step{arg: s.arg - s.arg%3, mode: 0}, 30_000)
		m.target, m.aim = first.target, atSession
		m.tryLocked(c)
	}
}

func (w *world) firstSession(id wire.ID) *peer {
	list := w.inMesh(id)
	return list[slices.IndexFunc(list, func(p *peer) bool { return !p.daemon() })]
}

func (c *conn) setStatus(value wire.Status, asHook bool) {
	s := &c.peer.status
	source, message := presence.Manual, map[string]any{"type": wire.TypeSetStatus, "status": string(value)}
	if asHook {
		source, message["source"] = presence.Hook, wire.SourceHook
	}
	s.pending++
	c.stir()
	c.sendLocked(message, false)
	life, sent := s.life, time.Now()
	c.effects = append(c.effects, func() {
		if s.life == life {
			s.served(value, source, sent)
		}
	})
}

func (c *conn) changeGroup(name string) {
	p := c.peer
	p.groups[name] = !p.groups[name]
	p.unsure[name] = true
	c.stir()
	message := map[string]any{"type": wire.TypeLeaveGroup, "name": name}
	if p.groups[name] {
		message["type"] = wire.TypeJoinGroup
	}
	c.sendLocked(message, false)
	life, now := p.status.life, p.groups[name]
	c.effects = append(c.effects, func() {
		if p.status.life == life && p.groups[name] == now && !p.names(name, !now) {
			p.unsure[name] = false
		}
	})
}

// names reports whether a hello is under way that names a group of p or, if in is false, one that
// doesn't.
func (p *peer) names(group string, in bool) bool {
	return slices.ContainsFunc(p.conns, func(c *conn) bool { return c.acked.IsZero() && c.groups != nil && c.groups[group] == in })
}

// junk sends a frame that can't be served. All kinds of junk except the first have a request id.
func (c *conn) junk(mode int) {
	switch mode % 6 {
	case 0:
		c.link.write(encodeFrame(opText, []byte(`{"type":`)))
	case 1:
		c.sendLocked(map[string]any{"type": "hello"}, true)
	case 2:
		c.sendLocked(map[string]any{"type": wire.TypeSend, "targetSpec": 7}, true)
	case 3:
		c.sendLocked(map[string]any{"type": wire.TypeSetStatus, "status": "asleep"}, true)
	case 4:
		c.sendLocked(map[string]any{}, true)
	case 5:
		c.sendLocked(map[string]any{"type": wire.TypeMessageStatus, "messageId": "no"}, true)
	}
}

// hook posts a status over HTTP, from the peer's own machine.
func (w *world) hook(p *peer, value wire.Status) {
	post := wire.HookStatus{Cwd: "/" + p.name, PID: 1000, Status: value, SessionID: "sid-" + p.name}
	result, err := w.broker.HookStatus(context.Background(), post, p.addr)
	w.mu.Lock()
	defer w.mu.Unlock()
	now, m := time.Now(), &p.presence
	if err != nil {
		w.violateLocked("7: hook: %v", err)
		return
	}
	if result.Pending {
		p.status.held = now
		if p.lingers(p.haunted) {
			p.status.known = false
		}
		if c := p.current(); c != nil && c.acked.Before(now) && p.surely(now) && m.half == whole && m.since.Before(now) && !c.link.over() {
			w.violateLocked("7: a hook of %s found nobody", p.name)
		}
		return
	}
	for _, other := range w.cast {
		if other != p && other.presence.id.String() == result.PresenceID {
			w.violateLocked("7: a hook of %s changed the status of %s", p.name, other.name)
		}
	}
	if result.PresenceID != m.id.String() {
		p.status.known = false
		return
	}
	p.status.overtaken(value, presence.Hook)
}
