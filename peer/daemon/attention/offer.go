package attention

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

// Moment is when a hook can put a pointer into the context.
type Moment int

// The moments.
const (
	// HumanPrompt is a prompt that the user has written.
	HumanPrompt Moment = iota + 1
	// Turn is any other point of a turn: a tool, or a prompt that no human wrote.
	Turn
)

// Offer is a pointer on its way. Until Done is called, the messages that it is
// for are announced by no other.
type Offer struct {
	Text string // one line, without its end

	desk    *Desk
	sub     *Subscription // whose it is; nil: a hook's
	covers  []*message    // all that the session knows of when it has got Text
	charged []*member     // whose budget paid
	once    sync.Once
}

// Hook returns what a hook puts into the context, or nil. It is for hooks whose
// text will be used. During a turn, an attached path comes first.
func (d *Desk) Hook(m Moment) *Offer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	if m == HumanPrompt {
		d.humanLocked()
		return d.offerLocked(len(d.waitingLocked()) > 0, nil)
	}
	if d.bestLocked() != nil {
		return nil
	}
	return d.pushLocked()
}

// waitingLocked returns the messages that want a pointer.
func (d *Desk) waitingLocked() []*message {
	var list []*message
	for _, m := range d.unread {
		if m.causes(d.dnd) {
			list = append(list, m)
		}
	}
	return list
}

// pushLocked makes an offer at the expense of those whose messages cause it.
// Messages of members that can't pay become silent.
func (d *Desk) pushLocked() *Offer {
	now := time.Now()
	cause := false
	var charged []*member
	paid := make(map[string]bool)
	for _, m := range d.waitingLocked() {
		if m.free {
			cause = true
			continue
		}
		ok, asked := paid[m.Member]
		if !asked {
			payer := d.memberLocked(m.Member)
			if ok = payer.wakes.take(now, wakeBurst, wakeRefill); ok {
				charged = append(charged, payer)
			}
			paid[m.Member] = ok
		}
		cause = cause || ok
		m.silent = !ok
	}
	return d.offerLocked(cause, charged)
}

// offerLocked ends the burst, since nothing waits any more, and makes an offer if
// there is a cause for one.
func (d *Desk) offerLocked(cause bool, charged []*member) *Offer {
	d.endBurstLocked()
	if !cause {
		return nil
	}
	o := &Offer{desk: d, charged: charged, covers: slices.Collect(maps.Values(d.unread))}
	for _, m := range o.covers {
		if m.offer == nil {
			m.offer = o
		}
	}
	o.Text = pointerText(o.covers)
	return o
}

// Done says how the writing of the pointer went. With nil its messages have been
// announced. With an error nothing has been told, the subscription that it came
// from ends, and the next path gets them.
// Calls after the first do nothing.
func (o *Offer) Done(err error) {
	o.once.Do(func() {
		ids := o.desk.settle(o, err == nil)
		if len(ids) > 0 && o.desk.onAnnounced != nil {
			o.desk.onAnnounced(ids)
		}
	})
}

// settle closes an offer and returns the messages that it has announced, in order.
func (d *Desk) settle(o *Offer, told bool) (ids []int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, m := range o.covers {
		if m.offer == o {
			m.offer = nil
		}
		if !told || d.unread[m.ID] != m {
			continue
		}
		if !m.Announced {
			ids = append(ids, m.ID)
		}
		m.Announced, m.announcedAt = true, now
	}
	slices.Sort(ids)
	if !told {
		for _, payer := range o.charged {
			payer.wakes.giveBack()
		}
		if !d.closed && len(d.waitingLocked()) > 0 {
			d.due = true
		}
	}
	if told && o.sub != nil && !d.working && !d.closed {
		d.unproven = o
		d.reaction.Reset(reactionTime)
	}
	switch {
	case o.sub == nil:
		d.nudgeLocked()
	case !told:
		d.removeLocked(o.sub, errFailed)
	case o.sub.path == local.PathWaiter:
		d.removeLocked(o.sub, ErrReleased)
	}
	return ids
}
