package broker

import (
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// A message that is sealed under the mesh key is not sent to peers whose clients
// can't open it. Its sender is told who they are, and sends each a copy, sealed for
// the peer's own key.

// maxCopyRights is how many copies of one member are expected at most. Beyond that, the
// older ones count as messages of their own.
const maxCopyRights = 4 * wire.MaxUnopened

// copyRightLife is how long the copies of a message are expected.
const copyRightLife = 10 * time.Minute

// copyRights are the copies that members have yet to send. A copy is part of the message to
// many: it does not count against the sender's rate, and needs the grant for broadcasts.
type copyRights struct {
	mu       sync.Mutex
	byMember map[wire.ID]*memberCopies
}

type memberCopies struct {
	since  time.Time // when the newest were added
	rights map[copyRight]struct{}
}

type copyRight struct {
	id string // of the copy: client_message_id
	to wire.Key
}

func newCopyRights() *copyRights { return &copyRights{byMember: make(map[wire.ID]*memberCopies)} }

// add gives a member the right to a copy of a message for each peer.
func (c *copyRights) add(member wire.ID, clientID string, list []wire.Unopened, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.byMember[member]
	if m == nil || len(m.rights)+len(list) > maxCopyRights {
		m = &memberCopies{rights: make(map[copyRight]struct{}, len(list))}
		c.byMember[member] = m
	}
	m.since = now
	for i := range list {
		to := list[i].Pubkey
		m.rights[copyRight{wire.CopyID(clientID, to), to}] = struct{}{}
	}
}

// has reports whether a member has the right to a copy.
func (c *copyRights) has(member wire.ID, id string, to wire.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.byMember[member]
	if m == nil {
		return false
	}
	_, ok := m.rights[copyRight{id, to}]
	return ok
}

// use uses up the right to a copy.
func (c *copyRights) use(member wire.ID, id string, to wire.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.byMember[member]; m != nil {
		if delete(m.rights, copyRight{id, to}); len(m.rights) == 0 {
			delete(c.byMember, member)
		}
	}
}

// forget drops the rights that are too old.
func (c *copyRights) forget(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for member, m := range c.byMember {
		if now.Sub(m.since) > copyRightLife {
			delete(c.byMember, member)
		}
	}
}

// isCopy reports whether a message is an expected copy. The sender keeps the right to it until the
// copy is safe, since it may have to send the copy again.
func (c *conn) isCopy(m *wire.Send) bool {
	return m.BodyVersion == wire.BodyCopy && len(m.Targets) == 1 && m.Targets[0].Kind == wire.TargetKey &&
		c.room.copies.has(c.actor.MemberID, m.ClientID, m.Targets[0].Key)
}

// tellUnopenedLocked names in the ack the recipients that can't open the message. A client that
// does not support copies is refused, since it would silently leave those peers out.
func (c *conn) tellUnopenedLocked(m *wire.Send, to []queue.To, ack *wire.Ack) *refusal {
	for i := range to {
		t := &to[i]
		switch {
		case !t.Unopened:
		case !c.sealedGroups:
			return &refusal{wire.AckInvalid, t.Name + "'s client can't open a message sealed for a group, and your client can't send it a copy: update your client"}
		case len(m.ClientID) == 0 || len(m.ClientID) > wire.MaxCopiedID:
			return &refusal{wire.AckInvalid, "some recipients need copies of this message, whose ids are made from its own: use a shorter client_message_id"}
		case len(ack.Unopened) == wire.MaxUnopened:
			ack.MoreUnopened++
		default:
			p := c.room.presences.ByIdentity(presence.Identity(t.Mailbox.Name))
			ack.Unopened = append(ack.Unopened, wire.Unopened{
				Pubkey: t.Key, MemberPubkey: p.MemberKey, Name: t.Name, Attestation: p.Attestation,
			})
		}
	}
	if len(ack.Unopened) > 0 {
		c.room.copies.add(c.actor.MemberID, m.ClientID, ack.Unopened, time.Now())
	}
	return nil
}

// copyStatus fills in the status of a message's copy for a recipient that could not open the
// message itself. It reports whether it has queried the storage.
func (c *conn) copyStatus(m *queue.Accepted, row *wire.RecipientStatus) (queried bool, err error) {
	if m.ClientID == "" {
		return false, nil
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	id, ok, err := c.room.queue.SentAs(ctx, m.SenderMember, wire.CopyID(m.ClientID, row.Pubkey))
	if !ok || err != nil {
		return false, err
	}
	found, err := c.room.queue.Find(ctx, id.String(), 1)
	if len(found) == 1 && len(found[0].Recipients) == 1 {
		c.fillStatus(&found[0].Recipients[0], row)
	}
	return true, err
}
