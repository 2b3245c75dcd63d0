package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// checkChars is how many characters of messages one answer holds, and messageChars how many
	// of one message. The model fetches the rest with an offset.
	checkChars   = 24000
	messageChars = 16000
	// maxChecked is how many messages one answer holds.
	maxChecked = 100
)

// serveCheck hands out unread messages. They stay taken until the daemon knows whether they
// reached the session's context.
func (d *daemon) serveCheck(c *call) error {
	var in local.Check
	if err := c.decode(&in); err != nil {
		return err
	}
	c.s.touch(time.Now())
	c.s.toolCalled()
	if in.MessageID != "" {
		return c.readOn(&in)
	}
	if in.ToolUseID == "" {
		in.ToolUseID = "check-" + rand.Text()
	}
	limit := maxChecked
	if in.Limit > 0 {
		limit = min(in.Limit, maxChecked)
	}
	options := inbox.TakeOptions{
		Filter: c.s.filter(), ToolUse: in.ToolUseID, Chars: checkChars, CharsEach: messageChars, Limit: limit, Now: time.Now(),
	}
	list, remaining, err := c.s.takeMail(options)
	if err == nil && len(list) == 0 && len(d.takes.of(c.s.id)) > 0 {
		// A call that the user stopped may be about to give back its messages.
		c.s.followTakes()
		list, remaining, err = c.s.takeMail(options)
	}
	if err != nil {
		return err
	}
	d.handedOut(c, in.ToolUseID, len(list))
	answer := local.Checked{Messages: make([]local.Message, 0, len(list)), Remaining: remaining}
	for i := range list {
		m, err := d.message(d.writeContext(), &list[i], 0)
		if err != nil {
			return err
		}
		answer.Messages = append(answer.Messages, m)
	}
	err = c.answer(answer)
	if err != nil { // the caller did not get the answer
		if _, err := d.inbox.ReleaseTaken(d.writeContext(), c.s.id, in.ToolUseID, false); err != nil {
			d.log.Error("release messages", "session", c.s.id, "error", err)
		}
		c.s.kickMail()
	}
	return err
}

// takeMail takes messages and tells all desks.
func (s *session) takeMail(o inbox.TakeOptions) ([]inbox.Stored, int, error) {
	s.d.mail.Lock()
	defer s.d.mail.Unlock()
	if s.ctx.Err() != nil {
		return nil, 0, errSessionOver
	}
	list, remaining, err := s.d.inbox.Take(s.d.writeContext(), o)
	if err != nil {
		return nil, 0, err
	}
	for i := range list {
		for _, other := range s.d.all() { // another session may know of the member's mail
			if other.told[list[i].ID] {
				delete(other.told, list[i].ID)
				other.desk.Checked(list[i].ID)
			}
		}
	}
	if remaining > 0 {
		s.kickMail() // a repeated call may have given back more than it took
	}
	return list, remaining, nil
}

// readOn returns one message from an offset on.
func (c *call) readOn(in *local.Check) error {
	if in.Offset < 0 {
		return invalid("offset must not be negative")
	}
	found, err := c.s.d.inbox.Find(c.ctx, c.s.filter(), in.MessageID)
	switch {
	case errors.Is(err, inbox.ErrNoMessage):
		return notFound("there is no message %q", in.MessageID)
	case errors.Is(err, inbox.ErrSeveralMessages):
		return notFound("%q matches the ids of several messages; give more characters of the id", in.MessageID)
	case err != nil:
		return err
	}
	m, err := c.s.d.message(c.ctx, &found, in.Offset)
	if err != nil {
		return err
	}
	return c.answer(local.Checked{Messages: []local.Message{m}})
}

// maxTargets is how many targets of a message the model sees.
const maxTargets = 4

// message returns a message in the form that the model gets, from an offset on.
func (d *daemon) message(ctx context.Context, m *inbox.Stored, offset int) (local.Message, error) {
	pinned, err := d.pinnedName(ctx, m.MeshID, m.Member)
	if err != nil {
		return local.Message{}, err
	}
	out := local.Message{
		ID: m.MessageID, From: m.From, Member: pinned, Key: m.SenderKey(), Mesh: d.slug(m.MeshID),
		Verified: m.Verified, Doubt: m.Doubt, Sealing: string(m.Sealing), To: m.To[:min(len(m.To), maxTargets)], Priority: wire.Priority(m.Priority),
		ReplyTo: m.ReplyTo, CreatedAt: m.CreatedAt, Offset: offset, Error: m.Error, MaybeSeen: m.MaybeSeen,
	}
	if j := d.joinedMesh(m.MeshID); j != nil && !m.MemberKey().IsZero() {
		row := j.roster.member(m.MemberKey())
		out.Role = row.Role
		if out.Member == "" {
			out.Member = row.DisplayName
		}
	}
	out.Text, out.Length = slice(m.Body, offset, messageChars)
	return out, nil
}

// slice returns at most most characters of s from offset on, and the length of s. All counts
// are in code points.
func slice(s string, offset, most int) (part string, length int) {
	runes := []rune(s)
	return visible.Cut(string(runes[min(offset, len(runes)):]), most, visible.Runes), len(runes)
}
