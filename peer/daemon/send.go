package daemon

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/attention"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// maxText is the maximum length of a message, in bytes. It is several times what a broker
	// accepts by default.
	maxText = 256 << 10
	// sendWait is how long a send waits for the broker before it answers "waiting".
	sendWait = time.Second
)

func (d *daemon) serveSend(c *call) error {
	var in local.Send
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := checkSend(&in); err != nil {
		return err
	}
	if in.ClientID != "" {
		known, err := d.store.MessageByID(c.ctx, in.ClientID)
		if err == nil && known.SessionID == c.s.id { // the caller repeats the call
			if err := refusedByBroker(&known); err != nil {
				return err
			}
			return c.answer(local.Sent{ID: known.ID, State: known.State, To: known.ToName, MessageID: known.MessageID})
		}
		if err != nil && !errors.Is(err, store.ErrNoMessage) {
			return err
		}
	} else {
		in.ClientID = uuid.NewString()
	}
	l, to, replyTo, err := c.s.address(c.ctx, &in)
	if err != nil {
		return err
	}
	notSent, err := c.s.allow(&to)
	if err != nil {
		return err
	}
	in.ReplyTo = replyTo
	return c.post(l, &in, &to, notSent)
}

// post adds the message to the outbox and answers how far it has come. It calls notSent if the message
// is not in the outbox, or if the broker refuses it at once.
func (c *call) post(l *line, in *local.Send, to *recipient, notSent func()) error {
	d := c.d
	sent := store.Message{
		ID: in.ClientID, SessionID: c.sender(), MeshID: l.name.mesh, Target: peer.TargetText(to.target), ToName: to.name,
		Body: in.Text, Priority: in.Priority, ReplyTo: in.ReplyTo, Created: time.Now(),
	}
	if !to.member.IsZero() {
		sent.ToMember = to.member.String()
	}
	news, done := d.await(sent.ID)
	defer done()
	added, err := d.store.AddMessage(d.writeContext(), &sent)
	if err != nil || !added { // not added: a call that came at the same time has
		notSent()
	}
	switch {
	case errors.Is(err, store.ErrFull):
		return refused("%d messages from this sender already wait for the broker; try again when the broker is back", store.MaxWaiting)
	case errors.Is(err, store.ErrIDTaken):
		return invalid("clientId is already in use by another sender")
	case err != nil:
		return err
	}
	kick(l.outboxKick)
	now, err := c.awaitBroker(l, sent.ID, news)
	if err != nil {
		return err
	}
	if err := refusedByBroker(&now); err != nil {
		if added {
			notSent()
		}
		return err
	}
	note := to.note(in.Priority)
	if now.State == local.Waiting {
		waits := "the broker is unreachable; the daemon keeps the message and retries"
		if l.isConnected() {
			waits = "the broker has not accepted the message yet; the daemon keeps it and retries"
		}
		note = joinNotes(waits, note)
	}
	answer := local.Sent{ID: now.ID, State: now.State, To: now.ToName, Note: joinNotes(note, now.Reason), MessageID: now.MessageID}
	if to.known {
		answer.Verified, answer.Doubt = &to.verified, to.doubt
	}
	return c.answer(answer)
}

// refusedByBroker returns an error if the broker has refused the message for good.
func refusedByBroker(sent *store.Message) error {
	if sent.State != local.Failed {
		return nil
	}
	return refused("the broker refused the message: %s", sent.Reason)
}

// awaitBroker waits until the broker accepts or refuses the message, but at most sendWait. It
// returns the message's state.
func (c *call) awaitBroker(l *line, id string, news <-chan struct{}) (store.Message, error) {
	d := c.d
	timeout := time.NewTimer(sendWait)
	defer timeout.Stop()
	for {
		now, err := d.store.MessageByID(d.writeContext(), id)
		if err != nil || now.State != local.Waiting || !l.isConnected() {
			return now, err
		}
		select {
		case <-news: // the final state, or a receipt, which may overtake the broker's answer
		case <-timeout.C:
			return now, nil
		case <-c.ctx.Done():
			return now, nil
		case <-d.ctx.Done():
			return now, nil
		}
	}
}

func checkSend(in *local.Send) error {
	if in.Priority == "" {
		in.Priority = wire.Next
	}
	switch {
	case in.Text == "":
		return invalid("the message is empty")
	case len(in.Text) > maxText:
		return invalid("the message is too long: %d bytes, and the limit is %d; shorten it, or send a path or link to the content", len(in.Text), maxText)
	case !in.Priority.Valid():
		return invalid("priority must be now, next or low")
	case len(in.ClientID) > wire.MaxClientID:
		return invalid("clientId is longer than %d bytes", wire.MaxClientID)
	case in.To == "" && in.ReplyTo == "":
		return invalid("no recipient given")
	}
	return nil
}

// address returns the line for a message, its recipient, and the broker's id of the message
// that it answers.
func (s *session) address(ctx context.Context, in *local.Send) (*line, recipient, string, error) {
	mesh, to, replyTo := in.Mesh, in.To, ""
	var answered inbox.Stored
	if in.ReplyTo != "" {
		var err error
		if answered, replyTo, err = s.answered(ctx, in.ReplyTo, to == ""); err != nil {
			return nil, recipient{}, "", err
		}
		if mesh == "" {
			mesh = answered.MeshID
		}
		if to == "" {
			to = answered.Sender
		}
	}
	lines, err := s.chosen(mesh)
	if err != nil {
		return nil, recipient{}, "", err
	}
	if len(lines) > 1 {
		return nil, recipient{}, "", invalid("this session is in several meshes; choose one: %s", joinNames(peer.MeshNames(meshesOf(lines))))
	}
	r, err := lines[0].resolve(ctx, strings.TrimSpace(to))
	if err != nil {
		return nil, recipient{}, "", err
	}
	if r.target.Kind == wire.TargetKey && r.target.Key == lines[0].key.Public() {
		return nil, recipient{}, "", invalid("the recipient is this session itself")
	}
	if in.To == "" {
		if err := lines[0].answers(ctx, &answered, &r); err != nil {
			return nil, recipient{}, "", err
		}
	}
	return lines[0], r, replyTo, nil
}

// answers adds to the recipient of a reply what is known about the sender of the original
// message. It fails if the user knows somebody else by that sender's name.
func (l *line) answers(ctx context.Context, message *inbox.Stored, to *recipient) error {
	if message.From != "" {
		to.name = message.From
	}
	if to.member.IsZero() {
		to.member = message.MemberKey()
	}
	if to.proven.IsZero() {
		to.proven = message.Proven()
	}
	_, members, _ := l.joined.roster.last()
	sender := peer.Recipient{Key: to.target.Key, Member: to.member, Proven: to.proven, Name: to.name}
	return l.d.contacts.Check(ctx, l.name.mesh, "", sender, members)
}

// answered finds the message that a reply answers: one that this session received or, unless
// received is true, one that it sent.
func (s *session) answered(ctx context.Context, id string, received bool) (inbox.Stored, string, error) {
	found, err := s.d.inbox.Find(ctx, s.filter(), id)
	switch {
	case err == nil:
		return found, found.MessageID, nil
	case errors.Is(err, inbox.ErrSeveralMessages):
		return found, "", notFound("%q matches the ids of several messages; give more characters of the id", id)
	case !errors.Is(err, inbox.ErrNoMessage):
		return found, "", err
	}
	if !received {
		sent, err := s.d.store.FindMessage(ctx, s.id, id)
		if err == nil && sent.MessageID != "" {
			return inbox.Stored{MeshID: sent.MeshID}, sent.MessageID, nil
		}
		if err != nil && !errors.Is(err, store.ErrNoMessage) && !errors.Is(err, store.ErrSeveralMessages) {
			return inbox.Stored{}, "", err
		}
	}
	return inbox.Stored{}, "", notFound("there is no message %q to reply to", id)
}

// allow asks the desk whether the session may send another message to the recipient, and counts it.
// notSent takes that back.
func (s *session) allow(to *recipient) (notSent func(), err error) {
	who := attention.Recipient{Member: to.member.String(), Name: to.name}
	if to.member.IsZero() {
		who.Member = peer.TargetText(to.target)
	}
	if err := s.desk.AllowSend(who); err != nil {
		return nil, refused("%v", err)
	}
	return func() { s.desk.NotSent(who) }, nil
}

func joinNotes(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// joinNames lists up to ten names.
func joinNames(names []string) string {
	const most = 10
	if len(names) > most {
		names = append(names[:most:most], "…")
	}
	return strings.Join(names, ", ")
}
