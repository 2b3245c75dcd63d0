package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// refusal is the error of an ack: one of the wire.Ack… words, and what is wrong.
type refusal struct{ word, text string }

func (r *refusal) Error() string { return wire.AckError(r.word, r.text) }

// errAway is the refusal of a message while the storage is out of reach.
var errAway = &refusal{wire.AckTryAgain, "the broker's storage is out of reach"}

// serveSend accepts a message, parks it or refuses it; in the end there is an ack.
func (c *conn) serveSend(frame *wire.Frame) {
	m, err := wire.DecodeSend(frame)
	slot := c.acks.enter(m.ID, frame.ReqID, c.dead.Done())
	if slot == nil {
		return
	}
	a := &arrival{Send: m, slot: slot, at: time.Now()}
	if err != nil {
		c.refuse(a, &refusal{wire.AckInvalid, err.Error()})
		c.fine(priceFrame)
		return
	}
	c.touch() // who is refused is there too
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

// forwardNow forwards a send that need not wait for anything.
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

// repeated answers a send that was accepted before, whatever has become of its
// recipients since.
func (c *conn) repeated(a *arrival) bool {
	return c.room.queue.Repeated(c.actor.MemberID, a.ClientID, c.decide(a))
}

// forward hands a send, for which there is room, to the queue.
func (c *conn) forward(a *arrival) {
	defer c.broker.journal.Release(c.actor.MemberID, a.cost())
	if why := c.route(a); why != nil {
		c.refuse(a, why)
	}
}

// decide returns what tells the sender its message's fate.
func (c *conn) decide(a *arrival) func(queue.Result) {
	return func(result queue.Result) {
		a.slot.ack.Repeated = result.Repeated && a.SealedForMany()
		switch {
		case errors.Is(result.Err, queue.ErrMeshFull):
			c.refuse(a, &refusal{wire.AckQueueFull, fmt.Sprintf(
				"the messages that wait in this mesh have all the %d bytes of max_queue_bytes_per_mesh", c.broker.Settings().MaxQueueBytesPerMesh)})
		case result.Err != nil:
			c.refuse(a, errAway)
		default:
			outcome := "accepted"
			if result.Repeated {
				outcome = "repeated"
			}
			c.broker.stats.answered(outcome, a.Priority)
			c.broker.stats.observer.Acked(time.Since(a.at))
			c.acks.decide(a.slot, result.MessageID.String(), "")
		}
	}
}

func (c *conn) refuse(a *arrival, why *refusal) {
	c.broker.stats.refused.add(why.word)
	c.broker.stats.answered(why.word, a.Priority)
	c.acks.decide(a.slot, "", why.Error())
}

// route fixes the recipients and hands the message to the queue, both under the
// room's lock, so that nobody who is a recipient has ended in between.
//
// What the sender is told of those who can't open the message goes into its ack.
func (c *conn) route(a *arrival) *refusal {
	r := c.room
	r.mu.RLock()
	defer r.mu.RUnlock()
	if from, ok := r.members.Member(c.member); !ok || from.Removed() {
		return &refusal{wire.AckForbidden, "you have been removed from this mesh"}
	}
	m := &a.Send
	to, err := c.recipients(m, a.isCopy)
	if err == nil && m.MustReach && len(to) == 0 {
		err = c.reachesNobody(m)
	}
	if err == nil {
		err = c.tellUnopened(m, to, &a.slot.ack)
	}
	if err != nil {
		return err
	}
	r.queue.Accept(queue.Message{
		SenderMember: c.actor.MemberID, SenderMemberKey: c.member, SenderKey: c.key, SenderName: c.name,
		SenderAttestation: c.attestation,
		TargetSpec:        m.TargetSpec, Priority: m.Priority, Nonce: m.Nonce, Ciphertext: m.Ciphertext,
		ClientID: m.ClientID, Fingerprint: m.Fingerprint, ReplyTo: m.ReplyTo, Mentions: m.Mentions,
		BodyVersion: m.BodyVersion, KeyEpoch: m.KeyEpoch,
	}, to, c.decide(a))
	return nil
}

// recipients resolves targets; several that mean the same mailbox count once.
func (c *conn) recipients(message *wire.Send, isCopy bool) ([]queue.To, *refusal) {
	var to []queue.To
	var audience []*presence.Presence[*conn]
	grant := mesh.GrantDM
	if isCopy {
		grant = mesh.GrantBroadcast
	}
	for _, t := range message.Targets {
		switch t.Kind {
		case wire.TargetKey:
			recipient, err := c.direct(t.Key, grant)
			if err != nil {
				return nil, err
			}
			to = append(to, recipient)
		case wire.TargetAll:
			audience = c.room.Audience(audience, c.member, "")
		case wire.TargetGroup:
			audience = c.room.Audience(audience, c.member, t.Name)
		case wire.TargetTopic:
			return nil, &refusal{wire.AckTargetNotFound, "no such topic in this mesh"}
		}
	}
	sealed := message.SealedForMany()
	for _, p := range audience {
		m, ok := c.room.members.Member(p.MemberKey)
		if !ok || m.Removed() || !m.Allows(c.member, mesh.GrantBroadcast) {
			continue
		}
		to = append(to, queue.To{Mailbox: c.room.mailbox(p), Key: p.Key(), Name: p.DisplayName, Unopened: sealed && !p.SealedGroups})
	}
	if len(message.Targets) > 1 {
		to = distinct(to)
	}
	return to, nil
}

func distinct(to []queue.To) []queue.To {
	seen := make(map[queue.Mailbox]struct{}, len(to))
	kept := to[:0]
	for _, t := range to {
		if _, again := seen[t.Mailbox]; !again {
			seen[t.Mailbox] = struct{}{}
			kept = append(kept, t)
		}
	}
	return kept
}

// direct resolves a key: a member's, a session's that is here or may come back, or
// one that somebody here claims.
func (c *conn) direct(key wire.Key, grant string) (queue.To, *refusal) {
	r := c.room
	if m, ok := r.members.Member(key); ok && !m.Removed() {
		return c.granted(m, grant, queue.To{Mailbox: r.memberMailbox(key), Key: key, Name: m.DisplayName})
	}
	if key == c.session {
		return queue.To{}, &refusal{wire.AckTargetNotFound, "that is your own session key"}
	}
	if p := r.ByKey(key); p != nil {
		m, ok := r.members.Member(p.MemberKey)
		if ok && !m.Removed() {
			return c.granted(m, grant, queue.To{Mailbox: r.mailbox(p), Key: key, Name: p.DisplayName})
		}
	} else if known, ok := r.Known(key); ok {
		if heir := r.Heir(key); heir != nil && heir.Conn == c {
			return queue.To{}, &refusal{wire.AckTargetNotFound, "that is the key of a session in whose place you go on"}
		}
		m, ok := r.members.MemberByID(known.MemberID)
		if ok && !m.Removed() {
			return c.granted(m, grant, queue.To{Mailbox: r.sessionMailbox(key), Key: key, Name: known.DisplayName})
		}
	}
	return queue.To{}, &refusal{wire.AckTargetNotFound, "no peer of this mesh has or had that key"}
}

// granted checks that a member takes messages from the sender.
func (c *conn) granted(m *mesh.Member, grant string, to queue.To) (queue.To, *refusal) {
	if !m.Allows(c.member, grant) {
		return queue.To{}, &refusal{wire.AckForbidden, "blocked by recipient grants (sender lacks " + grant + " capability)"}
	}
	to.SameMember = m.Key == c.member
	return to, nil
}

// clientAck settles a push. It has no answer unless it is malformed.
func (c *conn) clientAck(frame *wire.Frame) {
	a, err := wire.DecodeClientAck(frame)
	if err != nil {
		c.sendError(wire.CodeInvalid, err.Error(), frame.ReqID)
		c.fine(priceFrame)
		return
	}
	if !c.settle(&a) {
		c.fine(priceFrame)
	}
}

// settle reports whether an acknowledgement means a push that waits for one.
func (c *conn) settle(a *wire.ClientAck) bool {
	if c.present == nil || a.ClientID == "" && a.BrokerID == "" {
		return false
	}
	id, err := wire.ParseID(a.BrokerID)
	if err != nil {
		id, _ = wire.ParseID(a.ClientID) // a client without the message's own id names ours
	}
	r, q := c.room, c.broker.queue
	r.mu.RLock()
	own := r.mailbox(c.present)
	r.mu.RUnlock()
	// By the broker's id in all of them before by the client's in any: that may be in
	// use in several.
	for _, clientID := range [...]string{"", a.ClientID} {
		if q.Acknowledge(own, c, id, clientID) {
			return true
		}
		for _, box := range c.others {
			if q.Acknowledge(box, c, id, clientID) {
				return true
			}
		}
	}
	return false
}

// statusCandidates is how many messages a prefix may mean before more of the id is
// asked for.
const statusCandidates = 64

// messageStatus tells a message's sender, or an admin, how far it came.
func (c *conn) messageStatus(frame *wire.Frame) error {
	q, err := wire.DecodeMessageStatus(frame)
	if err != nil {
		return err
	}
	if !isMessageID(q.MessageID) {
		return &requestError{wire.CodeInvalidArgument, fmt.Sprintf("messageId must be 8-32 base62 chars (got %d)", len(q.MessageID))}
	}
	var found []queue.Accepted
	if strings.Trim(q.MessageID, "0123456789abcdef") == "" { // our ids are hex
		ctx, cancel := storageContext()
		defer cancel()
		if found, err = c.findMessages(ctx, q.MessageID); err != nil {
			return err
		}
	}
	me, _ := c.room.members.Member(c.member)
	visible := found[:0]
	for _, m := range found {
		if m.SenderMember == c.actor.MemberID || me != nil && me.CanAdmin() {
			visible = append(visible, m)
		}
	}
	switch len(visible) {
	case 0:
		if len(found) == statusCandidates {
			break // yours may be behind those of others
		}
		return &requestError{wire.CodeNotFound, "message not found"}
	case 1:
		c.send(c.statusOf(&visible[0], frame.ReqID))
		c.fine(priceOfRows(len(visible[0].Recipients)))
		return nil
	}
	return &requestError{wire.CodeAmbiguousPrefix, "invalid messageId: several begin or end with that, give more of it"}
}

// findMessages returns the messages whose id begins with a text and, of the asking
// member's newest, those whose id ends with it.
func (c *conn) findMessages(ctx context.Context, text string) ([]queue.Accepted, error) {
	found, err := c.room.queue.Find(ctx, text, statusCandidates)
	if err != nil || len(text) == 2*len(wire.ID{}) {
		return found, err
	}
	ids, err := c.room.queue.SentEndingIn(ctx, c.actor.MemberID, text)
	if err != nil {
		return nil, err
	}
	for _, id := range ids[:min(len(ids), 2)] { // two are too many already
		if slices.ContainsFunc(found, func(a queue.Accepted) bool { return a.ID == id }) {
			continue
		}
		one, err := c.room.queue.Find(ctx, id.String(), 1)
		if err != nil {
			return nil, err
		}
		found = append(found, one...)
	}
	return found, nil
}

func isMessageID(s string) bool {
	if len(s) < 8 || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return true
}

func (c *conn) statusOf(m *queue.Accepted, reqID string) wire.MessageStatusResult {
	result := wire.MessageStatusResult{
		Type: wire.TypeMessageStatusResult, MessageID: m.ID.String(), TargetSpec: m.TargetSpec, Delivered: true,
		Recipients: make([]wire.RecipientStatus, 0, len(m.Recipients)), ReqID: reqID,
	}
	var last time.Time
	unable := c.unable()
	for _, r := range m.Recipients {
		row := wire.RecipientStatus{Name: r.Name, Pubkey: r.Key, CannotRead: unable[r.Key]}
		c.fillStatus(&r, &row)
		if r.Unopened() {
			c.copyStatus(m, &row)
		}
		if row.At != nil && row.At.After(last) {
			last = row.At.Time
		}
		result.Delivered = result.Delivered && row.Status == wire.RecipientDelivered
		result.Recipients = append(result.Recipients, row)
	}
	if result.Delivered && !last.IsZero() {
		result.DeliveredAt = &wire.Time{Time: last}
	}
	return result
}

// unable returns, by session key, why peers can't read, as far as others may know, and by
// member key, why no session of a member can.
func (c *conn) unable() map[wire.Key]string {
	c.room.mu.RLock()
	defer c.room.mu.RUnlock()
	why, able := make(map[wire.Key]string), make(map[wire.Key]bool)
	for _, p := range c.room.All() {
		switch {
		case p.Role != wire.RoleSession || !p.Visible && p.MemberKey != c.member:
		case p.CannotRead == "":
			able[p.MemberKey] = true
		default:
			why[p.Key()], why[p.MemberKey] = p.CannotRead, p.CannotRead
		}
	}
	for member := range able {
		delete(why, member)
	}
	return why
}

func (c *conn) fillStatus(r *queue.Recipient, row *wire.RecipientStatus) {
	row.Status, row.State, row.At = wire.RecipientDisconnected, r.State.String(), nil
	switch {
	case r.Unopened():
		row.State = wire.StateUnopened
	case r.State == queue.Delivered:
		row.Status = wire.RecipientDelivered
	case r.State == queue.Pending && c.broker.queue.Attached(r.Mailbox):
		row.Status = wire.RecipientHeld
	}
	if r.State != queue.Pending {
		row.At = &wire.Time{Time: r.SettledAt}
	}
}
