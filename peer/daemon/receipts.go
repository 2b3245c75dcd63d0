package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// maxUnreadOf and maxUnreadBytes limit the unread messages from one member in one session,
	// so that a flood can't fill the disk.
	maxUnreadOf    = 1000
	maxUnreadBytes = 16 << 20
)

// take stores a received message and the receipt for its sender. Once take returns nil, the
// broker may delete the message.
func (l *line) take(ctx context.Context, m peer.Incoming) error {
	l.box.RLock()
	defer l.box.RUnlock()
	box := inbox.Mailbox{MeshID: l.name.mesh}
	// A trial session ends too soon to read messages to groups.
	if l.owner != nil && (m.Sealing == peer.Direct || !l.owner.snapshot().Trial) {
		box.Session = l.owner.id
	}
	tell := store.Confirmation{MeshID: box.MeshID, Session: box.Session, Sender: m.Sender, Confirmed: peer.Confirmed{
		ClientID: m.ClientID, State: peer.ConfirmedDelivered, At: time.Now(),
	}}
	kept, err := l.keep(ctx, box, &m)
	if err != nil {
		return err
	}
	if !kept {
		l.log.Warn("message refused: too many messages from its sender are unread", "sender", m.Sender.Short())
		tell.State, tell.Reason = peer.ConfirmedRefused, "the recipient has too many unread messages from you"
	}
	if m.WantsReceipt && confirmable(m.ClientID) {
		if err := l.d.store.AddConfirmations(l.d.writeContext(), tell); err != nil {
			return err
		}
		kick(l.confirmKick)
	}
	l.d.mailCame(box)
	return nil
}

// keep stores a message unless too many messages from its sender are unread. If the sender
// wants no receipt, nothing can report the refusal to it. In that case keep stores the first
// refused message without its text, so that at least the recipient knows.
func (l *line) keep(ctx context.Context, box inbox.Mailbox, m *peer.Incoming) (kept bool, err error) {
	sender := m.Member
	if sender.IsZero() {
		sender = m.Sender
	}
	messages, bytes, err := l.d.inbox.Load(ctx, box, sender)
	if err != nil {
		return false, err
	}
	if messages < l.d.o.maxUnread && bytes+int64(len(m.Body)) <= maxUnreadBytes {
		_, err := l.d.inbox.Add(ctx, box, m, time.Now())
		return true, err
	}
	known, err := l.d.inbox.Has(ctx, box, m)
	if known || err != nil {
		return known, err
	}
	if !m.WantsReceipt && messages <= l.d.o.maxUnread {
		m.Body, m.Err = nil, errNotKept
		_, err = l.d.inbox.Add(ctx, box, m, time.Now())
	}
	return false, err
}

var errNotKept = errors.New("the text was not kept because too many messages from this sender were unread; later messages may be missing, too")

// mailCame makes the sessions that use a mailbox check for mail.
func (d *daemon) mailCame(box inbox.Mailbox) {
	s := d.session(box.Session)
	if box.Session == "" {
		s = d.lastActive(box.MeshID)
	}
	if s != nil {
		s.kickMail()
	}
}

// hear records what a recipient reports about this client's messages.
func (l *line) hear(ctx context.Context, c peer.Confirmation) error {
	for _, m := range c.Messages {
		sent, err := l.d.store.MessageByID(ctx, m.ClientID)
		if errors.Is(err, store.ErrNoMessage) {
			continue
		}
		if err != nil {
			return err
		}
		if sent.MeshID != l.name.mesh || !wasFor(&sent, &c) {
			l.log.Warn("confirmation ignored: the message was not addressed to its key", "id", m.ClientID, "by", c.By.Short())
			continue
		}
		state := map[peer.ConfirmState]local.State{
			peer.ConfirmedDelivered: local.Delivered, peer.ConfirmedInContext: local.InContext, peer.ConfirmedRefused: local.Refused,
		}[m.State]
		if state == "" {
			continue // a state that only a newer client knows
		}
		if err := l.d.store.AddReport(l.d.writeContext(), sent.ID, store.Report{Key: c.By, State: state, Reason: cut(m.Reason, maxReason), At: m.At}); err != nil {
			return err
		}
		l.d.messageMoved(sent.ID)
	}
	return nil
}

// wasFor reports whether the confirming key was a recipient of the message: the addressed key,
// a session of the addressed member, or any proven session if the message went to many.
func wasFor(sent *store.Message, c *peer.Confirmation) bool {
	target, err := wire.ParseTarget(sent.Target)
	if err != nil {
		return false
	}
	if target.Kind != wire.TargetKey {
		return !c.Member.IsZero()
	}
	return c.By == target.Key || !c.Member.IsZero() && (c.Member == target.Key || c.Member.String() == sent.ToMember)
}

// confirmLoop reports to senders how far their messages have come.
func (l *line) confirmLoop(ctx context.Context, client *peer.Client) {
	for ctx.Err() == nil {
		list, err := l.d.store.NextConfirmations(ctx, l.name.mesh, l.name.session)
		switch {
		case err != nil:
			l.storeFailed(ctx, err)
		case len(list) == 0:
			if !waitFor(ctx, l.confirmKick) {
				return
			}
		default:
			l.confirm(ctx, client, list)
		}
	}
}

func (l *line) confirm(ctx context.Context, client *peer.Client, list []store.Confirmation) {
	say := make([]peer.Confirmed, len(list))
	for i := range list {
		say[i] = list[i].Confirmed
	}
	err := client.Confirm(ctx, list[0].Sender, say)
	var refused *peer.RefusedError
	switch {
	case err == nil:
	case lineOver(ctx, err):
		waitFor(ctx, nil) // another line reports it
		return
	case errors.As(err, &refused) && !refused.Final:
		return // the loop tries again
	default:
		l.log.Debug("the broker refused a confirmation", "reason", err) // the sender is gone
	}
	if err := l.d.store.RemoveConfirmations(l.d.writeContext(), list); err != nil {
		l.storeFailed(ctx, err)
		return
	}
	kick(l.progress)
}

// confirmable reports whether a receipt can name the message.
func confirmable(clientID string) bool { return clientID != "" && len(clientID) <= wire.MaxClientID }

// inContext records that messages have reached a session's context, and queues the receipts for
// their senders.
func (d *daemon) inContext(list []inbox.Stored, now time.Time) error {
	var tell []store.Confirmation
	for i := range list {
		m := &list[i]
		if !m.WantsReceipt || !confirmable(m.ClientID) {
			continue
		}
		tell = append(tell, store.Confirmation{MeshID: m.MeshID, Session: m.Session, Sender: m.SenderKey(), Confirmed: peer.Confirmed{
			ClientID: m.ClientID, State: peer.ConfirmedInContext, At: now,
		}})
	}
	if len(tell) == 0 {
		return nil
	}
	if err := d.store.AddConfirmations(d.writeContext(), tell...); err != nil {
		return err
	}
	for i := range tell {
		l := d.lineOf(lineName{tell[i].MeshID, tell[i].Session})
		if l == nil { // the session has ended
			l = d.lineOf(lineName{mesh: tell[i].MeshID})
		}
		if l != nil {
			kick(l.confirmKick)
		}
	}
	return nil
}

func (d *daemon) lineOf(name lineName) *line {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines[name]
}
