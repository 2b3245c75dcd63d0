package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// refusal is the error of an ack: one of the wire.Ack… words, and a text.
type refusal struct{ word, text string }

func (r *refusal) Error() string { return wire.AckError(r.word, r.text) }

// errAway refuses a message while the storage is unreachable.
var errAway = &refusal{wire.AckTryAgain, "the broker's storage is unreachable"}

// serveSend accepts, parks or refuses a message. In each case it leads to an ack.
func (c *conn) serveSend(frame *wire.Frame) {
	m, err := wire.DecodeSend(frame)
	slot := c.acks.enter(m.ID, frame.ReqID, c.dead.Done())
	if slot == nil {
		return
	}
	a := &arrival{Send: m, slot: slot, at: time.Now()}
	a.trace = c.trace(a)
	if err != nil {
		c.refuse(a, &refusal{wire.AckInvalid, err.Error()})
		c.fine(priceFrame)
		return
	}
	c.touch() // even if the message is refused
	a.isCopy = c.isCopy(&a.Send)
	if why := c.admit(a); why != nil {
		c.refuse(a, why)
		c.fine(priceFrame)
		return
	}
	if c.park.empty() && c.forwardNow(a) {
		return
	}
	if begin, ok := c.park.add(a, c.dead.Done()); ok && begin {
		go c.unpark()
	}
}

// admit checks the limits that do not depend on the recipients.
func (c *conn) admit(a *arrival) *refusal {
	s := c.broker.Settings()
	if size := a.Size(); size > s.MaxMessageBytes {
		return &refusal{wire.AckPayloadTooLarge, fmt.Sprintf("%d bytes > %d", size, s.MaxMessageBytes)}
	}
	if !a.isCopy && !c.room.rates.allow(c.actor.MemberID, s.SendRatePerMin, s.SendBurst, time.Now()) {
		return &refusal{wire.AckRateLimit, fmt.Sprintf("max %d msg/min (burst %d), slow down", s.SendRatePerMin, s.SendBurst)}
	}
	if price := c.priceOfTargets(a.Targets); price > 0 {
		if err := c.pay(price); err != nil {
			return &refusal{wire.AckRateLimit, err.Error()}
		}
	}
	return nil
}

// forwardNow forwards a send if it need not wait for anything.
func (c *conn) forwardNow(a *arrival) bool {
	if c.repeated(a) {
		return true
	}
	if c.broker.isSuspended() ||
		a.ClientID != "" && !c.room.queue.Prepared(c.actor.MemberID) ||
		!c.broker.journal.TryReserve(c.actor.MemberID, a.cost()) {
		return false
	}
	c.forward(a)
	return true
}

// repeated answers a send that was accepted before, whether or not its recipients are still here.
func (c *conn) repeated(a *arrival) bool {
	return c.room.queue.Repeated(c.actor.MemberID, a.ClientID, c.decide(a))
}

// forward gives a send, for which room is reserved, to the queue.
func (c *conn) forward(a *arrival) {
	defer c.broker.journal.Release(c.actor.MemberID, a.cost())
	if why := c.route(a); why != nil {
		c.refuse(a, why)
	}
}

// decide returns the function that tells the sender its message's fate.
func (c *conn) decide(a *arrival) func(queue.Result) {
	return func(result queue.Result) {
		a.slot.ack.Repeated = result.Repeated && a.SealedForMany()
		switch {
		case errors.Is(result.Err, queue.ErrMeshFull):
			c.refuse(a, &refusal{wire.AckQueueFull, fmt.Sprintf(
				"the mesh's queue is full: waiting messages take all %d bytes of max_queue_bytes_per_mesh", c.broker.Settings().MaxQueueBytesPerMesh)})
		case result.Err != nil:
			c.refuse(a, errAway)
		default:
			outcome := "accepted"
			if result.Repeated {
				outcome = "repeated"
			}
			if a.isCopy {
				c.room.copies.use(c.actor.MemberID, a.ClientID, a.Targets[0].Key)
			}
			c.broker.stats.answered(outcome, a.Priority)
			c.broker.stats.observer.Acked(time.Since(a.at))
			a.trace.answered(outcome, false)
			c.acks.decide(a.slot, result.MessageID.String(), "")
		}
	}
}

func (c *conn) refuse(a *arrival, why *refusal) {
	c.broker.stats.refused.add(why.word)
	c.broker.stats.answered(why.word, a.Priority)
	a.trace.answered(why.word, true)
	c.acks.decide(a.slot, "", why.Error())
}

// route resolves the recipients and gives the message to the queue, both under the room's lock, so
// that no recipient ends in between. The ack names the recipients that can't open the message.
func (c *conn) route(a *arrival) *refusal {
	r := c.room
	r.mu.RLock()
	defer r.mu.RUnlock()
	if from, ok := r.members.Member(c.member); !ok || from.Removed() {
		return &refusal{wire.AckForbidden, "you have been removed from this mesh"}
	}
	m := &a.Send
	to, err := c.recipientsLocked(m, a.isCopy)
	if err == nil && m.MustReach && len(to) == 0 {
		err = c.reachesNobodyLocked(m)
	}
	if err == nil {
		err = c.tellUnopenedLocked(m, to, &a.slot.ack)
	}
	if err != nil {
		return err
	}
	r.queue.Accept(queue.Message{
		SenderMember: c.actor.MemberID, SenderMemberKey: c.member, SenderKey: c.key, SenderName: c.name,
		SenderAttestation: c.attestation,
		TargetSpec:        m.TargetSpec, Priority: m.Priority, Nonce: m.Nonce, Ciphertext: m.Ciphertext,
		ClientID: m.ClientID, Fingerprint: m.Fingerprint, ReplyTo: m.ReplyTo, Mentions: m.Mentions,
		BodyVersion: m.BodyVersion, KeyEpoch: m.KeyEpoch, Trace: a.follow(),
	}, to, c.decide(a))
	return nil
}
