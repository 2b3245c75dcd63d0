package bench

import (
	"sync"
	"time"
)

// remember is how long a ledger knows a message that is settled: longer than a
// broker waits before it pushes again what was not acknowledged.
const remember = 2 * time.Minute

// entry is one message of a ledger. It has no pointers, since there are many.
type entry struct {
	at       time.Duration // when it went out, or should have, since the run began
	under    uint64        // hash of the broker's id it was delivered under first
	acked    bool
	refused  bool
	received bool
}

// settled: nothing more is expected of it.
func (e *entry) settled() bool { return e.refused || e.acked && e.received }

// ledger is what became of the messages of one sender, in the order of sending. It
// is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	first   int // place of entries[0] in the row
	entries []entry
}

// add enters the next message and returns its place.
func (l *ledger) add(at time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetLocked(at)
	l.entries = append(l.entries, entry{at: at})
	return l.first + len(l.entries) - 1
}

// forgetLocked drops old settled messages from the front, when that is worth it.
func (l *ledger) forgetLocked(now time.Duration) {
	const worth = 1024
	if len(l.entries) < worth || now-l.entries[worth-1].at < remember {
		return
	}
	n := 0
	for n < len(l.entries) && l.entries[n].settled() && now-l.entries[n].at >= remember {
		n++
	}
	if n >= worth {
		l.entries = append(l.entries[:0], l.entries[n:]...)
		l.first += n
	}
}

func (l *ledger) entryLocked(place int) *entry {
	if i := place - l.first; i >= 0 && i < len(l.entries) {
		return &l.entries[i]
	}
	return nil
}

// verdict is what an acknowledgement or a delivery means.
type verdict uint8

const (
	stranger    verdict = iota // of no message that was sent
	welcome                    // the first
	redelivered                // the same delivery again
	duplicated                 // another delivery of the same message
)

// outcome tells what was found about a message.
type outcome struct {
	verdict
	at      time.Duration // of the message
	settled bool          // it is, and was not before
}

// acknowledge notes the broker's answer to a send.
func (l *ledger) acknowledge(place int, refused bool) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entryLocked(place)
	switch {
	case e == nil && place >= 0 && place < l.first, e != nil && (e.acked || e.refused):
		return outcome{verdict: redelivered}
	case e == nil:
		return outcome{}
	}
	e.acked, e.refused = !refused, refused
	return outcome{welcome, e.at, e.settled()}
}

// receive notes a delivery under a broker's id, given by its hash.
// What has been forgotten was settled long ago: more of it is a duplicate.
func (l *ledger) receive(place int, under uint64) outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entryLocked(place)
	switch {
	case e == nil && place >= 0 && place < l.first:
		return outcome{verdict: duplicated}
	case e == nil:
		return outcome{}
	case e.received && e.under == under:
		return outcome{verdict: redelivered, at: e.at}
	case e.received:
		return outcome{verdict: duplicated, at: e.at}
	}
	was := e.settled()
	e.received, e.under = true, under
	return outcome{welcome, e.at, e.settled() && !was}
}

// unanswered returns the places of the messages without an answer, in their order.
func (l *ledger) unanswered() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var places []int
	for i := range l.entries {
		if e := &l.entries[i]; !e.acked && !e.refused {
			places = append(places, l.first+i)
		}
	}
	return places
}

// lost counts what was acknowledged and not delivered.
func (l *ledger) lost() (n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.entries {
		if e := &l.entries[i]; e.acked && !e.received {
			n++
		}
	}
	return n
}
