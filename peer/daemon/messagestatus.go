package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// statusTimeout is how long message-status waits for the broker.
const statusTimeout = 3 * time.Second

// serveMessageStatus reports how far a message of a session or of the member has come. It
// relies on what the recipients have signed, and otherwise on the broker's word.
func (d *daemon) serveMessageStatus(c *call) error {
	var in local.MessageQuery
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := peer.CheckMessageID(in.ID); err != nil {
		return invalid("%v", err)
	}
	sent, err := d.store.FindMessage(c.ctx, c.sender(), in.ID)
	switch {
	case errors.Is(err, store.ErrNoMessage):
		return notFound("this session has sent no message %q within the last %d days", in.ID, int(store.OutboxLife.Hours()/24))
	case errors.Is(err, store.ErrSeveralMessages):
		return notFound("%q matches the ids of several messages; give more characters of the id", in.ID)
	case err != nil:
		return err
	}
	answer := local.MessageStatus{
		ID: sent.ID, MeshID: sent.MeshID, Target: sent.Target, MessageID: sent.MessageID, To: sent.ToName, State: sent.State, Reason: sent.Reason, SentAt: sent.Created,
		Recipients: []local.RecipientStatus{},
	}
	if sent.State == local.Waiting || sent.State == local.Failed {
		return c.answer(answer)
	}
	var forgotten bool
	if answer.Recipients, forgotten, err = d.recipients(c.ctx, &sent); err != nil {
		return err
	}
	known := sent.State
	if forgotten && known == local.Queued {
		known = local.Forgotten
	}
	answer.State, answer.Reason = overall(answer.Recipients, known)
	if answer.Reason == "" {
		answer.Reason = sent.Reason // names the peers that it can't reach
	}
	if answer.State != sent.State {
		if err := d.store.Settled(d.writeContext(), sent.ID, answer.State); err != nil {
			return err
		}
	}
	return c.answer(answer)
}

// recipients returns how far a message has come with each recipient, and whether the broker no
// longer knows the message.
func (d *daemon) recipients(ctx context.Context, sent *store.Message) (list []local.RecipientStatus, forgotten bool, err error) {
	signed, err := d.store.Reports(ctx, sent.ID)
	if err != nil {
		return nil, false, err
	}
	target, err := wire.ParseTarget(sent.Target)
	if err == nil && target.Kind == wire.TargetKey && len(signed) > 0 {
		signed = signed[:1] // the message has one recipient; if that was cleared, its successor may have signed too
	} else {
		list, forgotten = d.askBroker(ctx, sent)
	}
	for _, h := range signed {
		r := local.RecipientStatus{Name: d.nameOf(sent, h.Key), Key: h.Key}
		at := -1
		for i := range list {
			if list[i].Key == h.Key {
				at, r.Name = i, list[i].Name
			}
		}
		r.State, r.At, r.Reason, r.Signed = h.State, h.At, h.Reason, true
		if at < 0 {
			list = append(list, r)
		} else {
			list[at] = r
		}
	}
	if list == nil {
		list = []local.RecipientStatus{}
	}
	for i := range list {
		if r := &list[i]; r.State == local.InContext {
			r.CannotRead = "" // the recipient has read this message
		} else if r.CannotRead == "" && len(signed) > 0 {
			r.CannotRead = d.cannotReadOf(sent, r.Key)
		}
	}
	return list, forgotten, nil
}

// cannotReadOf returns why a recipient can't read, according to the last roster. It returns ""
// if the recipient can.
func (d *daemon) cannotReadOf(sent *store.Message, key wire.Key) string {
	j := d.joinedMesh(sent.MeshID)
	if j == nil {
		return ""
	}
	rows, _, _ := j.roster.last()
	return unable(rows, key)
}

// askBroker returns how far the message has come according to the broker, or that the broker no
// longer knows the message. It returns neither if the broker does not answer.
func (d *daemon) askBroker(ctx context.Context, sent *store.Message) (list []local.RecipientStatus, forgotten bool) {
	l := d.lineOf(lineName{sent.MeshID, sent.SessionID})
	if l == nil || !l.isConnected() {
		return nil, false
	}
	client := l.current()
	if client == nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	status, err := client.MessageStatus(ctx, sent.MessageID)
	if err != nil {
		l.log.Debug("ask for the status of a message", "error", err)
		return nil, peer.IsNotFound(err)
	}
	list = make([]local.RecipientStatus, 0, len(status.Recipients))
	for _, r := range status.Recipients {
		one := local.RecipientStatus{Name: r.Name, Key: r.Pubkey, State: local.Queued, CannotRead: r.CannotRead}
		switch {
		case r.Status == wire.RecipientDelivered:
			one.State = local.Delivered
		case r.State == wire.StateUnopened:
			one.State, one.Reason = local.Failed, "its client can't open messages to groups, and it received no copy of its own"
		case r.State == "expired", r.State == "gone":
			one.State = local.Expired
		}
		if r.At != nil {
			one.At = r.At.Time
		}
		list = append(list, one)
	}
	return list, false
}

// nameOf returns the name of a recipient.
func (d *daemon) nameOf(sent *store.Message, key wire.Key) string {
	if j := d.joinedMesh(sent.MeshID); j != nil {
		rows, _, _ := j.roster.last()
		for i := range rows {
			if rows[i].Pubkey == key {
				return rows[i].DisplayName
			}
		}
	}
	if target, err := wire.ParseTarget(sent.Target); err == nil && target.Kind == wire.TargetKey {
		return sent.ToName
	}
	return key.Short()
}

// overall returns the state of the message as a whole: the least advanced state among the
// recipients that the message can still reach or has reached. If the message is lost for all of
// them, it returns how the first one lost it.
func overall(list []local.RecipientStatus, known local.State) (local.State, string) {
	order := map[local.State]int{local.Queued: 1, local.Delivered: 2, local.InContext: 3}
	least := local.State("")
	for i := range list {
		if n := order[list[i].State]; n > 0 && (least == "" || n < order[least]) {
			least = list[i].State
		}
	}
	switch {
	case least != "":
		return least, ""
	case len(list) > 0:
		return list[0].State, list[0].Reason
	}
	return known, ""
}
