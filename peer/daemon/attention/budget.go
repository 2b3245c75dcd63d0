package attention

import (
	"fmt"
	"time"
)

const (
	wakeBurst  = 8           // pointers that a member may cause at once
	wakeRefill = time.Minute // until it may cause one more

	sendBurst  = 20          // messages to one member between two prompts of the user
	sendRefill = time.Minute // until one more is allowed

	// maxMembers is how many members are kept in mind before those are forgotten
	// of whom there is nothing to know.
	maxMembers = 1024
)

// bucket is a token bucket; the zero bucket is full.
type bucket struct {
	missing float64 // tokens, at the time at
	at      time.Time
}

// settle adds the tokens that have come since, one each refill.
func (b *bucket) settle(now time.Time, refill time.Duration) {
	b.missing = max(0, b.missing-float64(now.Sub(b.at))/float64(refill))
	b.at = now
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time, burst float64, refill time.Duration) bool {
	b.settle(now, refill)
	if b.missing+1 > burst {
		return false
	}
	b.missing++
	return true
}

// giveBack returns a token that was not used.
func (b *bucket) giveBack() { b.missing = max(0, b.missing-1) }

// member is what a Desk remembers of a member of the mesh.
type member struct {
	wakes     bucket // pointers it may cause
	sends     bucket // messages that may be sent to it
	exchanged int    // messages in both directions since the user's last prompt
}

func (d *Desk) memberLocked(key string) *member {
	if m := d.members[key]; m != nil {
		return m
	}
	if len(d.members) >= maxMembers {
		now := time.Now()
		for k, m := range d.members {
			m.wakes.settle(now, wakeRefill)
			m.sends.settle(now, sendRefill)
			if m.wakes.missing == 0 && m.sends.missing == 0 && m.exchanged == 0 {
				delete(d.members, k)
			}
		}
	}
	m := new(member)
	d.members[key] = m
	return m
}

// Recipient is whom a message is sent to.
type Recipient struct {
	Member string // the member's key; for a group any text that names it
	Name   string // for the words of an error; hostile text is left out
}

// LoopError refuses a send: the session and a peer have been talking for long
// without the session's user. Its text is for the model.
type LoopError struct {
	Peer      string // safe to show
	Exchanged int    // messages in both directions since the user's last prompt
}

// Error says what has happened and what to do.
func (e *LoopError) Error() string {
	return fmt.Sprintf("not sent: you have exchanged %d messages with %s since your user's last prompt; wait for your user", e.Exchanged, e.Peer)
}

// AllowSend counts a message to these recipients, or, if it is one too many for
// any of them, counts nothing and returns a [*LoopError]. A session may send 20
// messages to a member, and one more a minute; a prompt of its user makes it 20
// again.
func (d *Desk) AllowSend(to ...Recipient) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for i, r := range to {
		m := d.memberLocked(r.Member)
		if m.sends.take(now, sendBurst, sendRefill) {
			continue
		}
		for _, earlier := range to[:i] {
			d.memberLocked(earlier.Member).sends.giveBack()
		}
		name := presentable(r.Name)
		if name == "" {
			name = "them"
		}
		return &LoopError{name, m.exchanged}
	}
	for _, r := range to {
		d.memberLocked(r.Member).exchanged++
	}
	return nil
}
