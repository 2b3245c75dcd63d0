package broker

import (
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// A connection serves the mailbox of its own presence. Beside it, it may serve the
// mailbox of its member, and those of older sessions in whose place it goes on.
// Who serves these is looked up anew whenever a presence comes, goes, or is taken
// over.

// mailbox is where the messages of a presence wait.
func (r *room) mailbox(p *presence.Presence[*conn]) queue.Mailbox {
	return queue.Mailbox{Mesh: r.id, Name: string(p.Identity)}
}

// sessionMailbox is where the messages to a proven session key wait.
func (r *room) sessionMailbox(key wire.Key) queue.Mailbox {
	return queue.Mailbox{Mesh: r.id, Name: string(presence.SessionIdentity(key))}
}

func (r *room) memberMailbox(key wire.Key) queue.Mailbox {
	return queue.Mailbox{Mesh: r.id, Name: presence.MemberMailbox(key)}
}

// rehome sees to it that a member's mailbox is served by whoever is home now. The
// caller holds r.mu.
func (r *room) rehome(member wire.Key) { r.reassign(r.memberMailbox(member), r.Home(member)) }

// resettle does the same for every mailbox that p serves beside its own, or that
// may be served by another now that p has come or gone. The caller holds r.mu.
func (r *room) resettle(p *presence.Presence[*conn]) {
	r.rehome(p.MemberKey)
	if p.Proven {
		r.reassign(r.sessionMailbox(p.SessionKey), r.Heir(p.SessionKey))
	}
	r.reassignHeritage(p.Succeeds)
}

func (r *room) reassignHeritage(old []wire.Key) {
	for _, key := range old {
		r.reassign(r.sessionMailbox(key), r.Heir(key))
	}
}

// reassign has a mailbox served by p's connection and no other, or by nobody when p
// is nil. The caller holds r.mu.
func (r *room) reassign(box queue.Mailbox, p *presence.Presence[*conn]) {
	var now *conn
	if p != nil {
		now = p.Conn
	}
	was := r.serving[box.Name]
	if now == was {
		return
	}
	if was != nil {
		r.broker.queue.Detach(box, was)
	}
	if now == nil {
		delete(r.serving, box.Name)
		return
	}
	r.serving[box.Name] = now
	now.catching.Add(1)
	r.broker.queue.Attach(box, now, presence.UrgentOnly(p.Status))
}

// regate opens or closes the mailboxes that p serves. The caller holds r.mu.
func (r *room) regate(p *presence.Presence[*conn]) {
	if !p.Online {
		return
	}
	urgentOnly := presence.UrgentOnly(p.Status)
	r.broker.queue.Gate(r.mailbox(p), p.Conn, urgentOnly)
	for _, box := range p.Conn.others {
		r.broker.queue.Gate(box, p.Conn, urgentOnly) // of one that another serves, the gate stays as it is
	}
}

// others returns the mailboxes beside its own that a connection of p may serve, at
// times.
func (r *room) others(p *presence.Presence[*conn]) []queue.Mailbox {
	list := []queue.Mailbox{r.memberMailbox(p.MemberKey)}
	for _, old := range p.Succeeds {
		list = append(list, r.sessionMailbox(old))
	}
	return list
}
