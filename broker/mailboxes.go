package broker

import (
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// A connection serves the mailbox of its own presence. It may also serve the mailbox of its
// member, and those of older sessions that it succeeds. Whenever a presence comes, goes or is
// taken over, the room decides again which connection serves these.

// mailboxLocked is where the messages of a presence wait.
func (r *room) mailboxLocked(p *presence.Presence[*conn]) queue.Mailbox {
	return queue.Mailbox{Mesh: r.id, Name: string(p.Identity)}
}

// sessionMailbox is where the messages to a proven session key wait.
func (r *room) sessionMailbox(key wire.Key) queue.Mailbox {
	return queue.Mailbox{Mesh: r.id, Name: string(presence.SessionIdentity(key))}
}

func (r *room) memberMailbox(key wire.Key) queue.Mailbox {
	return queue.Mailbox{Mesh: r.id, Name: presence.MemberMailbox(key)}
}

// rehomeLocked gives a member's mailbox to the connection of its home.
func (r *room) rehomeLocked(member wire.Key) {
	r.reassignLocked(r.memberMailbox(member), r.presences.Home(member))
}

// resettleLocked reassigns every mailbox, besides p's own, that p serves or that another
// connection may serve now that p has come or gone.
func (r *room) resettleLocked(p *presence.Presence[*conn]) {
	r.rehomeLocked(p.MemberKey)
	if p.Proven {
		r.reassignLocked(r.sessionMailbox(p.SessionKey), r.presences.Heir(p.SessionKey))
	}
	r.reassignHeritageLocked(p.Succeeds)
}

func (r *room) reassignHeritageLocked(old []wire.Key) {
	for _, key := range old {
		r.reassignLocked(r.sessionMailbox(key), r.presences.Heir(key))
	}
}

// reassignLocked gives a mailbox to p's connection alone, or to none if p is nil. A mailbox that
// goes from one connection to another is not detached in between: then the queue could forget
// what it has pushed. The mailbox may come back to the first connection, whose acknowledgements
// must still count.
func (r *room) reassignLocked(box queue.Mailbox, p *presence.Presence[*conn]) {
	var now *conn
	if p != nil {
		now = p.Conn
	}
	was := r.serving[box.Name]
	if now == was {
		return
	}
	if now == nil {
		r.broker.queue.Detach(box, was)
		delete(r.serving, box.Name)
		return
	}
	r.serving[box.Name] = now
	now.catching.Add(1)
	r.broker.queue.Attach(box, now, presence.UrgentOnly(p.Status))
}

// regateLocked opens or closes the mailboxes that p serves.
func (r *room) regateLocked(p *presence.Presence[*conn]) {
	if !p.Online {
		return
	}
	urgentOnly := presence.UrgentOnly(p.Status)
	r.broker.queue.Gate(r.mailboxLocked(p), p.Conn, urgentOnly)
	for _, box := range p.Conn.others {
		r.broker.queue.Gate(box, p.Conn, urgentOnly) // does nothing if another connection serves it
	}
}

// othersLocked returns the mailboxes, besides its own, that p's connection may have to serve.
func (r *room) othersLocked(p *presence.Presence[*conn]) []queue.Mailbox {
	list := []queue.Mailbox{r.memberMailbox(p.MemberKey)}
	for _, old := range p.Succeeds {
		list = append(list, r.sessionMailbox(old))
	}
	return list
}
