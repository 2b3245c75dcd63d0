package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// statusCandidates is how many messages that match a prefix are looked at.
const statusCandidates = 64

// messageStatus tells a message's sender, or an admin, the status of its deliveries.
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
		ctx, cancel := c.broker.storageContext()
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
			break // the asker's own may be beyond those of others
		}
		return &requestError{wire.CodeNotFound, "message not found"}
	case 1:
		status, queries, err := c.statusOf(&visible[0], frame.ReqID)
		if err != nil {
			return err
		}
		c.send(status)
		c.fine(priceOfRows(len(visible[0].Recipients)) + queries*priceQuestion)
		return nil
	}
	return &requestError{wire.CodeAmbiguousPrefix, "invalid messageId: it means several messages; give more digits"}
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

// statusOf returns the answer to a message_status, and how many queries of the storage it took.
func (c *conn) statusOf(m *queue.Accepted, reqID string) (result wire.MessageStatusResult, queries int, err error) {
	result = wire.MessageStatusResult{
		Type: wire.TypeMessageStatusResult, MessageID: m.ID.String(), TargetSpec: m.TargetSpec, Delivered: true,
		Recipients: make([]wire.RecipientStatus, 0, len(m.Recipients)), ReqID: reqID,
	}
	var last time.Time
	unable := c.unable()
	for _, r := range m.Recipients {
		row := wire.RecipientStatus{Name: r.Name, Pubkey: r.Key, CannotRead: unable[r.Key]}
		c.fillStatus(&r, &row)
		if r.Unopened() {
			queried, err := c.copyStatus(m, &row)
			if err != nil {
				return result, queries, err
			}
			if queried {
				queries++
			}
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
	return result, queries, nil
}

// unable returns why peers can't read, as far as c may know: by session key, and by member key
// if no session of the member can.
func (c *conn) unable() map[wire.Key]string {
	c.room.mu.RLock()
	defer c.room.mu.RUnlock()
	why, able := make(map[wire.Key]string), make(map[wire.Key]bool)
	for _, p := range c.room.presences.All() {
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
