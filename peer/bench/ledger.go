package bench

import (
	"sync"
	"time"
)

// remember is how long a ledger keeps a settled message. It is longer than a broker waits before
// it redelivers an unacknowledged message.
const remember = 2 * time.Minute

// entry is a message in a ledger. It contains no pointers, because there are many entries.
type entry struct {
	at       time.Duration // when the message was sent, or was due, since the run began
	under    uint64        // hash of the broker's id in the first delivery
	acked    bool
	refused  bool
	received bool
}

// settled reports whether nothing more is expected for the message.
func (e *entry) settled() bool { return e.refused || e.acked && e.received }

// ledger records the fate of one sender's messages, in the order of sending. It is safe for
// concurrent use.
type ledger struct {
	mu      sync.Mutex
	first   int // place of entries[0]
	entries []entry
}

// add adds the next message and returns its place.
func (l *ledger) add(at time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetLocked(at)
	l.entries = append(l.entries, entry{at: at})
	return l.first + len(l.entries) - 1
}

// forgetLocked drops old settled messages from the front, if there are enough of them.
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
	stranger    verdict = iota // for a message that was never sent
	welcome                    // the first one
	redelivered                // the same delivery again
	duplicated                 // another delivery of the same message
)

// outcome is the result of recording an acknowledgement or a delivery.
type outcome struct {
	verdict
	at      time.Duration // time of the message
	settled bool          // whether the message has just become settled
}

// acknowledge records the broker's answer to a send.
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

// receive records a delivery. under is the hash of the broker's id. A delivery of a message
// that was dropped from the ledger is a duplicate, because the message was settled long ago.
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

// unanswered returns the places of the messages without an answer, in order.
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

// lost counts the messages that were acknowledged but not delivered.
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
