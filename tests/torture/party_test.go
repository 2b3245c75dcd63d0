package torture

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// party is somebody who sends and receives, whatever its client.
type party struct {
	w       *world
	name    string
	key     string // in hex, to send to
	direct  string // the mailbox of what is sent to key
	shouted string // that of what is sent to everybody; "": it gets none of that
	send    func(ctx context.Context, d draft)

	count int // of the messages made
	mu    sync.Mutex
	seen  map[string]bool // by id
}

// draft is a message that is to be sent.
type draft struct {
	id     string // of the intent
	target string // key in hex, or *
	size   int    // of the text, at least
}

// text is the id, and a space and as much else as makes it long enough.
func (d draft) text() string {
	if fill := d.size - len(d.id) - 1; fill > 0 {
		return d.id + " " + strings.Repeat("x", fill)
	}
	return d.id
}

// everybody is the target of a broadcast; every so many messages is one.
const (
	everybody  = "*"
	shoutEvery = 15
)

// newParty makes somebody to whom the others send.
func (w *world) newParty(name string) *party {
	p := w.stranger(name)
	w.parties = append(w.parties, p)
	return p
}

// stranger makes somebody of whom the others know nothing.
func (w *world) stranger(name string) *party {
	return &party{w: w, name: name, direct: name, shouted: name, seen: map[string]bool{}}
}

// talk sends to the others in turn until there is to be calm. send returns when the
// next message may follow.
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

// next makes a message and enters it into the ledger.
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
	p.w.ledger.send(d.id, p.name, to)
	return d
}

// nextTo makes a message to one of the others.
func (p *party) nextTo(other *party) draft {
	p.count++
	d := draft{id: fmt.Sprintf("%s-%06d", p.name, p.count), target: other.key, size: p.w.size}
	p.w.ledger.send(d.id, p.name, []string{other.direct})
	return d
}

// other chooses who gets the next message.
func (p *party) other() *party {
	for i := p.count; ; i++ {
		if other := p.w.parties[i%len(p.w.parties)]; other != p {
			return other
		}
	}
}

// arrived notes a copy of a message that has come, and takes the first one.
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

// took is arrived for clients that dedupe by themselves.
func (p *party) took(id string) {
	p.w.ledger.arrive()
	p.w.ledger.take(id, p.direct, p.shouted)
}

// fail reports what must never happen, with the message it was about, if any.
func (p *party) fail(format string, args ...any) {
	p.w.t.Errorf("%s: %s", p.name, strings.TrimSpace(fmt.Sprintf(format, args...)))
}
