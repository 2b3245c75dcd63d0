package attention

import (
	"fmt"
	"time"
)

const (
	wakeBurst  = 8           // pointers that one member may cause at once
	wakeRefill = time.Minute // per further pointer

	sendBurst  = 20          // messages to one member between two user prompts
	sendRefill = time.Minute // per further message

	// maxMembers is how many members a Desk remembers before it forgets those in their
	// initial state.
	maxMembers = 1024
)

// bucket is a token bucket; the zero bucket is full.
type bucket struct {
	missing float64 // tokens, at the time at
	at      time.Time
}

// settle adds the tokens that have accrued, one per refill.
func (b *bucket) settle(now time.Time, refill time.Duration) {
	b.missing = max(0, b.missing-float64(now.Sub(b.at))/float64(refill))
	b.at = now
}

// take removes a token if there is one, and reports whether there was.
func (b *bucket) take(now time.Time, burst float64, refill time.Duration) bool {
	b.settle(now, refill)
	if b.missing+1 > burst {
		return false
	}
	b.missing++
	return true
}

// giveBack returns an unused token.
func (b *bucket) giveBack() { b.missing = max(0, b.missing-1) }

// member is what a Desk remembers about a member of the mesh.
type member struct {
	wakes     bucket // budget for pointers that it causes
	sends     bucket // budget for messages to it
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

// Recipient is a recipient of a message.
type Recipient struct {
	Member string // the member's key; for a group any text that names it
	Name   string // for the error text, which omits hostile names
}

// LoopError refuses a send because the session and a peer have exchanged many messages without
// a prompt from the session's user. Its text is for the model.
type LoopError struct {
	Peer      string // safe to show
	Exchanged int    // messages in both directions since the user's last prompt
}

// Error returns what happened and what to do.
func (e *LoopError) Error() string {
	return fmt.Sprintf("not sent: you have exchanged %d messages with %s since your user's last prompt; wait for your user", e.Exchanged, e.Peer)
}

// AllowSend counts a message to a recipient. If that exceeds its budget, it counts nothing and
// returns a [*LoopError]. A session may send 20 messages to a member, and one more per minute. A
// prompt from the user resets that to 20.
func (d *Desk) AllowSend(to Recipient) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.memberLocked(to.Member)
	if !m.sends.take(time.Now(), sendBurst, sendRefill) {
		name := presentable(to.Name)
		if name == "" {
			name = "them"
		}
		return &LoopError{name, m.exchanged}
	}
	m.exchanged++
	return nil
}

// NotSent takes back what AllowSend has counted for a message that then was not sent.
func (d *Desk) NotSent(to Recipient) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.memberLocked(to.Member)
	m.sends.giveBack()
	m.exchanged = max(0, m.exchanged-1) // the user may have written a prompt meanwhile
}
