package torture

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// party is a peer that sends and receives, with any client.
type party struct {
	w       *world
	name    string
	client  client
	key     string // in hex; the target of messages to it
	direct  string // the mailbox for messages to key
	shouted string // the mailbox for broadcasts; "" if it gets none
	send    func(ctx context.Context, d draft)

	count int // messages created
	mu    sync.Mutex
	seen  map[string]bool // received messages by id
}

// draft is a message to send.
type draft struct {
	id     string // the idempotency key
	target string // a key in hex, or *
	size   int    // minimum length of the text
}

// text returns the id, padded to size.
func (d draft) text() string {
	if fill := d.size - len(d.id) - 1; fill > 0 {
		return d.id + " " + strings.Repeat("x", fill)
	}
	return d.id
}

// everybody is the target of a broadcast. Every few messages, one is a broadcast.
const (
	everybody  = "*"
	shoutEvery = 15
)

// newParty creates a party to which the others send.
func (w *world) newParty(name string) *party {
	p := w.stranger(name)
	w.parties = append(w.parties, p)
	return p
}

// stranger creates a party to which the others don't send.
func (w *world) stranger(name string) *party {
	return &party{w: w, name: name, direct: name, shouted: name, seen: map[string]bool{}}
}

// talk sends to the others in turn until calm is closed. send returns when the next message
// may follow.
func (p *party) talk() {
	tick := time.NewTicker(p.w.pace)
	defer tick.Stop()
	for {
		select {
		case <-p.w.calm:
			return
		case <-p.w.ctx.Done():
			return
		case <-tick.C:
			p.send(p.w.ctx, p.next())
		}
	}
}

// next creates a message and records it in the ledger.
func (p *party) next() draft {
	p.count++
	d := draft{id: fmt.Sprintf("%s-%06d", p.name, p.count), target: everybody, size: p.w.size}
	var to []string
	if p.w.shouts && p.count%shoutEvery == 0 {
		for _, other := range p.w.parties {
			if other != p && other.shouted != "" {
				to = append(to, other.shouted)
			}
		}
	} else {
		other := p.other()
		d.target, to = other.key, []string{other.direct}
	}
	p.w.ledger.send(d.id, p.name, p.client, to)
	return d
}

// nextTo creates a message to another party and records it in the ledger.
func (p *party) nextTo(other *party) draft {
	p.count++
	d := draft{id: fmt.Sprintf("%s-%06d", p.name, p.count), target: other.key, size: p.w.size}
	p.w.ledger.send(d.id, p.name, p.client, []string{other.direct})
	return d
}

// other chooses the recipient of the next message.
func (p *party) other() *party {
	for i := p.count; ; i++ {
		if other := p.w.parties[i%len(p.w.parties)]; other != p {
			return other
		}
	}
}

// arrived records a copy of a message, and takes the first copy.
func (p *party) arrived(id string) {
	p.w.ledger.arrive()
	p.mu.Lock()
	again := p.seen[id]
	p.seen[id] = true
	p.mu.Unlock()
	if !again {
		p.w.ledger.take(id, p.direct, p.shouted)
	}
}

// took is arrived for clients that deduplicate themselves.
func (p *party) took(id string) {
	p.w.ledger.arrive()
	p.w.ledger.take(id, p.direct, p.shouted)
}

// fail reports a violation.
func (p *party) fail(format string, args ...any) {
	p.w.t.Errorf("%s: %s", p.name, strings.TrimSpace(fmt.Sprintf(format, args...)))
}
