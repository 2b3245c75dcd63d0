package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/wire"
)

// unnoticed is the longest time that a broker may take to notice that another one has the database.
const unnoticed = 5 * time.Second

// usurp cuts the broker off from the database until its lease has run out. Another broker
// takes over. The first one keeps its sockets until it notices that, after a while.
func (w *world) usurp(away time.Duration) {
	if !w.server.served(w.session) {
		return // the broker has not claimed the database yet
	}
	strict := w.settled()
	old, was := w.session, w.broker
	w.server.turn(frozen) // nothing need be done in time
	old.lease.cutOff()
	w.pause(leaseTime)
	w.mu.Lock()
	for _, p := range w.cast {
		for _, c := range slices.Clone(p.conns) {
			c.desert()
		}
	}
	w.mu.Unlock()
	w.server.turn(fair)
	w.reload(strict)
	w.start()
	time.AfterFunc(away, old.lease.heal)
	w.clients.Go(func() { w.bury(was, old, away) })
}

// bury waits until a broker has noticed that it has lost the database, and stops the broker.
func (w *world) bury(was *broker.Broker, s *session, away time.Duration) {
	healed := time.Now().Add(away)
	for lost := false; !lost; {
		select {
		case <-was.Lost():
			lost = true
		case <-time.After(time.Second):
			if lost = min(time.Since(healed), w.server.fairFor()) > unnoticed; lost {
				w.mu.Lock()
				w.violateLocked("5: a broker has not noticed that another one has the database")
				w.mu.Unlock()
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), unnoticed)
	defer cancel()
	_ = was.Stop(ctx) // what it had in memory is out of date
	s.die(false)
}

// desert leaves a connection to a broker that is suspended by now. The peer does not know that and
// sends more over the connection. The broker must not send any answer that only the owner of the
// mesh may send.
func (c *conn) desert() {
	if c.gone || c.frozen || c.polite || !c.alive() || c.link.over() {
		c.drop(true)
		return
	}
	c.ended, c.stray = true, true
	c.peer.conns = slices.DeleteFunc(c.peer.conns, func(other *conn) bool { return other == c })
	c.lost(time.Now())
	for _, message := range []map[string]any{
		{"type": wire.TypeSend, "id": "stray", "client_message_id": "stray-" + c.peer.name, "targetSpec": "*", "priority": string(wire.Now),
			"nonce": "bm9uY2U=", "ciphertext": "c3RyYXk="},
		{"type": wire.TypeSetStatus, "status": string(wire.Idle)},
	} {
		c.write(message)
	}
}

// receiveStray handles a message from a suspended broker.
func (c *conn) receiveStray(frame *wire.Frame) {
	p, w := c.peer, c.peer.world
	switch {
	case frame.Type == wire.TypePush && frame.Subtype() != wire.SubtypeSystem:
		w.violateLocked("4: a message came to %s from a broker that is suspended", p.name)
	case frame.Type == wire.TypeHelloAck:
		w.violateLocked("5: %s was let in by a broker that is suspended", p.name)
	case frame.Type == wire.TypeAck:
		ack, err := wire.DecodeAck(frame)
		if err != nil || ack.Error != "" {
			return
		}
		m := w.byID[ack.ID]
		if m == nil {
			w.violateLocked("1: %s got an ack from a broker that is suspended", p.name)
		} else if _, stored := w.server.holds(clientKey{p.member.mesh, p.member.id, m.id}); !stored && !m.everybodyHasIt() {
			w.violateLocked("1: a suspended broker has acknowledged %s, but the storage does not have it", m)
		}
	}
}
