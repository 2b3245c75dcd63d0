package broker

import (
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// recipientsLocked resolves targets. Targets that mean the same mailbox count once.
func (c *conn) recipientsLocked(message *wire.Send, isCopy bool) ([]queue.To, *refusal) {
	var to []queue.To
	var audience []*presence.Presence[*conn]
	grant := mesh.GrantDM
	if isCopy {
		grant = mesh.GrantBroadcast
	}
	for _, t := range message.Targets {
		switch t.Kind {
		case wire.TargetKey:
			recipient, err := c.directLocked(t.Key, grant)
			if err != nil {
				return nil, err
			}
			to = append(to, recipient)
		case wire.TargetAll:
			audience = c.room.presences.Audience(audience, c.member, "")
		case wire.TargetGroup:
			audience = c.room.presences.Audience(audience, c.member, t.Name)
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
		to = append(to, queue.To{Mailbox: c.room.mailboxLocked(p), Key: p.Key(), Name: p.DisplayName, Unopened: sealed && !p.SealedGroups})
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

// directLocked resolves a key: a member's, that of a session that is here or may come back, or one
// that a presence claims.
func (c *conn) directLocked(key wire.Key, grant string) (queue.To, *refusal) {
	r := c.room
	if m, ok := r.members.Member(key); ok && !m.Removed() {
		return c.granted(m, grant, queue.To{Mailbox: r.memberMailbox(key), Key: key, Name: m.DisplayName})
	}
	if key == c.session {
		return queue.To{}, &refusal{wire.AckTargetNotFound, "that is your own session key"}
	}
	if p := r.presences.ByKey(key); p != nil {
		m, ok := r.members.Member(p.MemberKey)
		if ok && !m.Removed() {
			return c.granted(m, grant, queue.To{Mailbox: r.mailboxLocked(p), Key: key, Name: p.DisplayName})
		}
	} else if known, ok := r.presences.Known(key); ok {
		if heir := r.presences.Heir(key); heir != nil && heir.Conn == c {
			return queue.To{}, &refusal{wire.AckTargetNotFound, "that is the key of a session that yours succeeds"}
		}
		m, ok := r.members.MemberByID(known.MemberID)
		if ok && !m.Removed() {
			return c.granted(m, grant, queue.To{Mailbox: r.sessionMailbox(key), Key: key, Name: known.DisplayName})
		}
	}
	return queue.To{}, &refusal{wire.AckTargetNotFound, "no peer of this mesh has or had that key"}
}

// granted checks that a member accepts messages from the sender.
func (c *conn) granted(m *mesh.Member, grant string, to queue.To) (queue.To, *refusal) {
	if !m.Allows(c.member, grant) {
		return queue.To{}, &refusal{wire.AckForbidden, "blocked by recipient grants (sender lacks " + grant + " capability)"}
	}
	to.SameMember = m.Key == c.member
	return to, nil
}
