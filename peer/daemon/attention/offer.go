package attention

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

// Moment is a time at which a hook can add a pointer to the context.
type Moment int

// Moments.
const (
	// HumanPrompt is a prompt that the user has written.
	HumanPrompt Moment = iota + 1
	// Turn is any other point in a turn: a tool call, or a prompt that no human wrote.
	Turn
)

// Offer is a pointer on its way. No other pointer announces its messages until Done is called.
type Offer struct {
	Text string // one line without a newline

	desk    *Desk
	sub     *Subscription // the owner; nil for a hook
	covers  []*message    // the messages that Text announces
	charged []*member     // members whose budgets paid
	once    sync.Once
}

// Hook returns the pointer that a hook adds to the context, or nil. Call it only from hooks
// whose output is used. During a turn, an attached path takes precedence.
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

// waitingLocked returns the messages that a pointer should announce.
func (d *Desk) waitingLocked() []*message {
	var list []*message
	for _, m := range d.unread {
		if m.causes(d.dnd) {
			list = append(list, m)
		}
	}
	return list
}

// pushLocked makes an offer and charges the members whose messages cause it. Messages from
// members without budget become silent.
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

// offerLocked ends the burst, since no message waits any more, and makes an offer if cause is
// true.
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

// Done reports whether the pointer was written. If err is nil, its messages count as announced.
// Otherwise they don't, the subscription of the offer ends, and the next path gets them. Only
// the first call has an effect.
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
