package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// receive handles a message from the broker.
func (c *conn) receive(data []byte) {
	w := c.peer.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.ended && !c.stray {
		return // the peer is gone and reads nothing
	}
	frame, err := wire.ParseFrame(data)
	if err != nil {
		w.violateLocked("11: %s got %q", c.peer.name, data)
		return
	}
	if c.stray {
		c.receiveStray(&frame)
		return
	}
	switch frame.Type {
	case wire.TypeHelloAck:
		c.receiveHelloAck(&frame)
	case wire.TypeAck:
		c.receiveAck(&frame)
	case wire.TypePush:
		if frame.Subtype() == wire.SubtypeSystem {
			c.receiveNews(&frame)
		} else {
			c.receivePush(&frame)
		}
	case wire.TypeError:
		if e, err := wire.DecodeError(&frame); err != nil || e.Code == wire.CodeInternal {
			w.violateLocked("11: %s got %s", c.peer.name, data)
		}
		c.answered(frame.ReqID)
	case wire.TypePeersList:
		c.receiveRoster(&frame)
	default:
		c.answered(frame.ReqID)
	}
}

// end records that the connection has ended, and the reason that the broker gave.
func (c *conn) end(reason string) {
	p, w, now := c.peer, c.peer.world, time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.gone {
		c.link.cut(false)
	}
	if c.ended {
		return
	}
	c.ended, c.reason = true, reason
	if c.replaced && !c.polite && reason != "" && reason != "1000 session_replaced" && reason != "1012 shutting down" {
		w.violateLocked("5: the old connection of %s was closed with %q", p.name, reason)
	}
	p.conns = slices.DeleteFunc(p.conns, func(other *conn) bool { return other == c })
	c.lost(now)
}

// lost records what the end of the connection means for the presence.
func (c *conn) lost(now time.Time) {
	p := c.peer
	m := &p.presence
	for _, other := range p.conns { // if two came at the same moment, the other one may have the presence
		if !c.replaced && (c.reason == "1000 session_replaced" || other.acked.Equal(c.acked)) {
			other.replaced = false
			other.mayBeOver(now)
			if other.polite { // its earlier goodbye ends the presence
				m.mayHaveLeft(now)
			}
		}
	}
	if !c.replaced {
		p.status.calm(now)
	}
	switch {
	case c.hello.IsZero() || c.wrong || c.replaced:
	case c.acked.IsZero(): // the broker may have served the hello
		m.maybeUntil = later(m.maybeUntil, now.Add(detection+presenceLease))
		p.halve(swapped)
		p.haunted = now
		for _, g := range groupNames {
			p.unsure[g] = p.unsure[g] || p.groups[g] != c.groups[g]
		}
		p.status.maybeJoined(now, p.surely(now))
		if old := p.current(); old != nil {
			old.mayBeOver(now)
		}
		if c.polite {
			p.cursed = now
		}
		for _, old := range p.succeeds {
			old.cursed = now
		}
	case c.polite && c.reason != "" && p.current() == nil:
		// The broker has answered the goodbye and closes the connection at the same moment.
		m.maybeUntil = now.Add(margin)
	case p.current() == nil && c.reason == "1000 session_replaced": // replaced by a connection that may have left since
		m.mayHaveLeft(now)
	case p.current() == nil:
		p.offline(c, now)
		p.halve(brief)
		p.cutAt = now
		if c.frozen || c.gone {
			p.halve(open)
		}
	}
}

// mayHaveLeft records that the presence has lost its connection: it is leased, or has ended.
func (m *presenceModel) mayHaveLeft(now time.Time) {
	m.online, m.sureUntil = false, time.Time{}
	m.maybeUntil = later(m.maybeUntil, now.Add(detection+presenceLease))
}

// mayBeOver records that c may have lost the presence, which c does not learn while it is frozen.
func (c *conn) mayBeOver(now time.Time) {
	if c.frozen && now.Add(-silence).Before(c.since) {
		c.since = now.Add(-silence)
	}
}

func (c *conn) receiveHelloAck(frame *wire.Frame) {
	p, w, now := c.peer, c.peer.world, time.Now()
	ack, err := wire.DecodeHelloAck(frame)
	switch {
	case err != nil:
		w.violateLocked("11: %s got a bad hello_ack: %v", p.name, err)
		return
	case c.wrong:
		w.violateLocked("5: the broker accepted a hello as %s that it must refuse", p.name)
		return
	}
	m := &p.presence
	sure := p.surely(now) && m.half == whole
	switch same := ack.PresenceID == m.id; {
	case sure && m.since.Before(c.hello) && !same:
		w.violateLocked("6: %s has been here since %s and came back as another presence", p.name, clock(m.since))
	case !c.possible && !p.daemon() && ack.PresenceID == c.before:
		w.violateLocked("6: %s came back as a presence that had ended", p.name)
	}
	for _, other := range p.conns {
		if other != c && !other.acked.IsZero() && !other.ended {
			other.replaced = true
		}
	}
	c.acked = now
	isNew := ack.PresenceID != m.id
	if !sure {
		m.since = now
	}
	before := m.half
	*m = presenceModel{id: ack.PresenceID, online: true, since: m.since}
	if before != whole { // the broker may take the previous line for alive
		m.half, p.twin = max(before, open), now.Add(detection+presenceLease)
	}
	m.doubt = p.threatened() || c.forsaken()
	if c.polite { // the client has hung up meanwhile
		m.online, m.maybeUntil = false, now.Add(detection+presenceLease)
	}
	p.met = true
	p.status.joined(now, c.hello, isNew, isNew && (len(p.succeeds) > 0 || p.twins))
	if isNew && len(p.succeeds) > 0 {
		p.hiding++
	}
	for _, g := range groupNames {
		p.unsure[g] = p.groups[g] != c.groups[g]
	}
	w.loaded(p.member.mesh, now)
	for _, i := range p.intents {
		if !i.safe {
			i.tryLocked(c)
		}
	}
}

func (c *conn) receiveAck(frame *wire.Frame) {
	p, w := c.peer, c.peer.world
	ack, err := wire.DecodeAck(frame)
	if err != nil {
		w.violateLocked("11: %s got a bad ack: %v", p.name, err)
		return
	}
	if c.hidingReq == frame.ReqID && frame.ReqID != "" {
		p.hiding = 0
	}
	if _, asked := c.requests[frame.ReqID]; !asked {
		w.violateLocked("11: %s got an ack for no request: %+v", p.name, ack)
	}
	c.answered(frame.ReqID)
	if m := w.byID[ack.ID]; m != nil {
		c.checkRefusal(m, frame.ReqID, &ack)
		var n int
		if _, err := fmt.Sscanf(frame.ReqID, "r%d", &n); err != nil || n < c.lastAck {
			w.violateLocked("2: %s got the ack of %s after a later one", p.name, m)
		}
		c.lastAck = n
		m.decided(c, &ack)
	}
}

// checkRefusal checks that a sender waits instead of being refused, while the storage works.
func (c *conn) checkRefusal(m *intent, reqID string, ack *wire.Ack) {
	w := c.peer.world
	sent := c.sends[reqID]
	delete(c.sends, reqID)
	word, _, _ := strings.Cut(ack.Error, ":")
	if (word == wire.AckQueueFull || word == wire.AckTryAgain) && w.server.fairFor() > time.Since(sent.at)+calm {
		w.violateLocked("11: %s was refused although the storage is well: %s", m, ack.Error)
	}
}

// decided records the broker's answer about the message.
func (m *intent) decided(c *conn, ack *wire.Ack) {
	w, now := m.from.world, time.Now()
	if !ack.Queued {
		word, _, _ := strings.Cut(ack.Error, ":")
		switch word {
		case wire.AckTryAgain, wire.AckQueueFull:
			m.loose = m.loose || !m.safe
		case wire.AckTargetNotFound:
			m.dead = m.dead || !m.safe
			if m.aim != atSession || m.known && m.target != c.peer && !c.peer.mayInherit(m.target) {
				w.violateLocked("1: %s was refused: %s", m, ack.Error)
			}
		default:
			w.violateLocked("1: %s was refused: %s", m, ack.Error)
		}
		return
	}
	id, err := wire.ParseID(ack.MessageID)
	if err != nil {
		w.violateLocked("11: the ack of %s: %v", m, err)
	}
	if !m.id1.IsZero() && m.id1 != id && !m.loose {
		w.violateLocked("2: %s was acknowledged under two ids", m)
	}
	m.refine(now)
	m.id1 = id
	if !m.safe {
		m.safe, m.safeAt = true, now
	}
}

func (c *conn) receivePush(frame *wire.Frame) {
	p, w := c.peer, c.peer.world
	push, err := wire.DecodePush(frame)
	id, idErr := wire.ParseID(push.MessageID)
	m := w.byID[push.ClientID]
	if err != nil || idErr != nil || m == nil || m.from.member.mesh != p.member.mesh {
		w.violateLocked("4: %s got a message that nobody sent to it: %v", p.name, err)
		return
	}
	m.arrive(c, id, &push)
	times := c.pushed[id].times
	switch {
	case p.mood == diligent, p.mood == moody && w.luck(m.id, p.name, times)%2 == 0:
		c.acknowledge(id)
	}
}

// acknowledge sends a client_ack for a message that came over c.
func (c *conn) acknowledge(id wire.ID) {
	f := c.pushed[id]
	if c.ended || c.polite || c.gone {
		return
	}
	f.acked = true
	m, to := f.intent, f.intent.box(c.peer)
	m.answered[c.peer] = true
	c.sendLocked(map[string]any{"type": wire.TypeClientAck, "clientMessageId": m.id, "brokerMessageId": id.String()}, false)
	life, times := c.peer.world.life, f.times
	c.effects = append(c.effects, func() {
		// It counts if it comes from the peer to which the broker last pushed the message.
		if c.peer.world.life != life || c.replaced || f.times != times || !m.aloneWith(c.peer, time.Now()) || m.notInFlight(c.peer, f.at) {
			return
		}
		if m.acks[id] == nil {
			m.acks[id] = make(map[string]time.Time)
		}
		m.acks[id][to] = time.Now()
	})
}

// receiveNews checks that the news is not about a peer that has been here all the time.
func (c *conn) receiveNews(frame *wire.Frame) {
	w, now := c.peer.world, time.Now()
	news, err := wire.DecodeSystemPush(frame)
	if err != nil {
		w.violateLocked("11: %s got bad news: %v", c.peer.name, err)
		return
	}
	switch news.Event {
	case wire.EventPeerJoined, wire.EventPeerReturned, wire.EventPeerLeft:
	default:
		return
	}
	q := w.peers[news.EventData.Name]
	if q == nil || q.member.mesh != c.peer.member.mesh {
		w.violateLocked("4: %s was told of a stranger: %s", c.peer.name, news.EventData.Name)
		return
	}
	at := news.CreatedAt.Time
	if q.surely(now) && q.presence.since.Before(at.Add(-time.Millisecond)) && q.presence.half == whole {
		w.violateLocked("6: %s was told %s of %s, which has been here since %s", c.peer.name, news.Event, q.name, clock(q.presence.since))
	}
}

// rosterQuery is a list_peers that has no answer yet.
type rosterQuery struct {
	at     time.Time
	absent map[*peer]bool
}

// receiveRoster compares the roster with the ledger.
func (c *conn) receiveRoster(frame *wire.Frame) {
	p, w, now := c.peer, c.peer.world, time.Now()
	var list wire.PeersList
	if err := frame.Unmarshal(&list); err != nil {
		w.violateLocked("11: %s got a bad roster: %v", p.name, err)
		return
	}
	q := c.rosters[frame.ReqID]
	c.answered(frame.ReqID)
	if q == nil || now.Sub(q.at) > margin {
		return // the query is too old for a precise check
	}
	rows := make(map[string]*wire.PeerRow)
	for i := range list.Peers {
		row := &list.Peers[i]
		other := w.peers[row.DisplayName]
		if other == nil || other.member.mesh != p.member.mesh || row.Pubkey != other.key() || row.MemberPubkey != other.member.keys.Public() {
			w.violateLocked("4: the roster shows a stranger: %+v", row)
			return
		}
		if rows[other.name] != nil && !other.daemon() {
			w.violateLocked("5: %s is here twice", other.name)
		}
		rows[other.name] = row
	}
	for _, other := range w.inMesh(p.member.mesh) {
		other.checkRow(p, rows[other.name], q, now)
	}
}

func (p *peer) checkRow(reader *peer, row *wire.PeerRow, q *rosterQuery, now time.Time) {
	w, m := p.world, &p.presence
	if row == nil {
		shown := p.member == reader.member || p.visible && p.hiding == 0
		if shown && p.surely(now) && m.half == whole && m.since.Before(q.at) {
			w.violateLocked("6: %s has been here since %s, but is not in the roster", p.name, clock(m.since))
		}
		return
	}
	if q.absent[p] && !p.possibly(now) {
		w.violateLocked("6: %s is in the roster, but not here", p.name)
	}
	if !row.Visible && p.member != reader.member {
		w.violateLocked("4: %s is hidden, but the roster shows it to %s", p.name, reader.name)
	}
	if status, known := p.statusNow(now); known && p.status.since.Before(q.at) && m.since.Before(q.at) && p.surely(now) &&
		m.half == whole && row.Status != status {
		w.violateLocked("7: %s is %s in the roster, want %s (set to %s by source %d at %s)", p.name, row.Status, status, p.status.value, p.status.source, clock(p.status.at))
	}
}
