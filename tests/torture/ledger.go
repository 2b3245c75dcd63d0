package torture

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ledger records what happens to every message of a scenario. Its methods are safe for
// concurrent use.
type ledger struct {
	mu       sync.Mutex
	moment   int64 // counts the events, which orders them
	messages map[string]*message
	unacked  map[string]*message // those without an ack
	open     int                 // messages without an ack, and deliveries not yet taken
	got      int                 // deliveries taken
	faults   int
	arrived  int      // copies of deliveries before the recipient's dedupe
	wrong    []string // violations of the promises, in words
	twice    int      // deliveries that passed the recipient's dedupe twice, and messages with two names
	news     chan struct{}

	measured time.Time // when the measurement of the gaps began
	welcomed time.Time // when a visitor was welcomed last
	longest  gaps

	// forgetful says that the broker was killed or its commits fail. It may accept a
	// message that it pushed but didn't acknowledge again, under another id.
	forgetful bool
}

// message is a message that was handed to a broker or a daemon. A moment is 0 if the event
// has not happened.
type message struct {
	id, from    string
	by          client
	at          time.Time
	name        string // the broker's id, from an ack or a push
	final       bool   // name is from an ack
	sent, acked int64
	refused     bool             // at least once, temporarily
	taken       map[string]int64 // by recipient
}

func newLedger() *ledger {
	return &ledger{messages: map[string]*message{}, unacked: map[string]*message{}, news: make(chan struct{})}
}

// note locks the ledger and returns a new moment. done unlocks it.
func (l *ledger) note() (now int64, done func()) {
	l.mu.Lock()
	l.moment++
	return l.moment, func() {
		close(l.news)
		l.news = make(chan struct{})
		l.mu.Unlock()
	}
}

// send records that a message is about to be handed over for the first time. A recipient is
// a mailbox: the broker promises order only within a mailbox.
func (l *ledger) send(id, from string, by client, to []string) {
	now, done := l.note()
	defer done()
	m := &message{id: id, from: from, by: by, at: time.Now(), sent: now, taken: make(map[string]int64, len(to))}
	for _, name := range to {
		m.taken[name] = 0
	}
	l.messages[id], l.unacked[id] = m, m
	l.open += 1 + len(to)
}

// refuse records that a message was not accepted; its sender will hand it over again.
func (l *ledger) refuse(id string) {
	_, done := l.note()
	defer done()
	l.messages[id].refused = true
}

// ack records that a message was accepted.
func (l *ledger) ack(id string) {
	now, done := l.note()
	defer done()
	if m := l.messages[id]; m.acked == 0 {
		m.acked = now
		l.open--
		delete(l.unacked, id)
		l.waitedLocked(m)
	}
}

// mayForget records that the broker is killed or can't commit.
func (l *ledger) mayForget() {
	_, done := l.note()
	defer done()
	l.forgetful = true
}

// named records the broker's id of a message, from a push or from an ack, which is final. A
// message that was accepted twice has two ids. Its recipients would not notice, since they
// deduplicate by the sender's id.
func (l *ledger) named(id, name string, final bool) {
	_, done := l.note()
	defer done()
	m := l.messages[id]
	if m == nil {
		return // take reports it
	}
	switch {
	case m.name == name || m.name == "":
		m.name, m.final = name, m.final || final
	case !l.forgetful || m.final && final:
		l.twice++
		l.wrong = append(l.wrong, fmt.Sprintf("%s was accepted as %s and as %s", id, m.name, name))
	case !m.final: // if final, the other id is from a push that was in flight
		m.name, m.final = name, final
	}
}

// arrive records a copy of a message before the recipient's dedupe.
func (l *ledger) arrive() {
	_, done := l.note()
	defer done()
	l.arrived++
}

// take records that a message has passed its recipient's dedupe. A recipient with several
// mailboxes passes all of them if it doesn't know through which one the message came.
func (l *ledger) take(id string, boxes ...string) {
	now, done := l.note()
	defer done()
	to, m := boxes[0], l.messages[id]
	if m == nil {
		l.wrong = append(l.wrong, fmt.Sprintf("%s got %q, which nobody sent", to, id))
		return
	}
	for _, box := range boxes {
		if _, ok := m.taken[box]; ok {
			to = box
		}
	}
	switch before, ok := m.taken[to]; {
	case !ok:
		l.wrong = append(l.wrong, fmt.Sprintf("%s got %s, which was not for it", to, id))
	case before != 0:
		l.twice++
		l.wrong = append(l.wrong, fmt.Sprintf("%s took %s twice", to, id))
	default:
		m.taken[to] = now
		l.open--
		l.got++
	}
}

// fault records an injected fault.
func (l *ledger) fault() {
	_, done := l.note()
	defer done()
	l.faults++
}

// violations returns what has been wrong so far, in words.
func (l *ledger) violations() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.wrong)
}

// await waits until a condition holds. It calls holds under the lock.
func (l *ledger) await(ctx context.Context, holds func() bool) error {
	for {
		l.mu.Lock()
		ok, news := holds(), l.news
		l.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// progress waits until n more deliveries have been taken.
func (l *ledger) progress(ctx context.Context, n int) error {
	l.mu.Lock()
	want := l.got + n
	l.mu.Unlock()
	return l.await(ctx, func() bool { return l.got >= want })
}

// acknowledged waits until everything that was handed over before the call is acknowledged.
func (l *ledger) acknowledged(ctx context.Context) error {
	l.mu.Lock()
	now := l.moment
	l.mu.Unlock()
	return l.await(ctx, func() bool {
		for _, m := range l.unacked {
			if m.sent <= now {
				return false
			}
		}
		return true
	})
}

// balanced waits until everything is acknowledged and taken.
func (l *ledger) balanced(ctx context.Context) error {
	return l.await(ctx, func() bool { return l.open == 0 })
}

// totals holds the sums of a ledger.
type totals struct {
	rounds, faults               int
	sent, acked                  int // messages
	owed, received               int // deliveries of acknowledged messages
	repeated, twice              int // copies before the dedupe, and after it
	lost, disordered, unaccepted int
}

// total returns the sums, and texts that say what is wrong.
func (l *ledger) total() (totals, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := totals{rounds: 1, faults: l.faults, sent: len(l.messages), twice: l.twice}
	wrong := slices.Clone(l.wrong)
	pairs := map[string][]*message{}
	for _, m := range l.messages {
		if m.acked == 0 {
			t.unaccepted++
			wrong = append(wrong, fmt.Sprintf("%s was never acknowledged", m.id))
			continue
		}
		t.acked++
		for to, taken := range m.taken {
			t.owed++
			if taken == 0 {
				t.lost++
				wrong = append(wrong, fmt.Sprintf("%s was acknowledged and %s never got it", m.id, to))
				continue
			}
			t.received++
			pair := m.from + " " + to
			pairs[pair] = append(pairs[pair], m)
		}
	}
	t.repeated = l.arrived - l.got
	for pair, list := range pairs {
		_, to, _ := strings.Cut(pair, " ")
		late := disorder(list, to)
		t.disordered += len(late)
		for _, m := range late {
			wrong = append(wrong, fmt.Sprintf("%s came to %s after what was sent later", m.id, to))
		}
	}
	slices.Sort(wrong)
	return t, wrong
}

// disorder returns the messages of a sender and recipient that were taken after a message that
// must come later. A message must come later if it was handed over after the ack of the other
// one or, if neither was ever refused, after the other one was handed over. The order of the
// first attempts doesn't count for a refused message, because its sender retries at any time.
func disorder(list []*message, to string) (late []*message) {
	slices.SortFunc(list, func(a, b *message) int { return cmp.Compare(a.taken[to], b.taken[to]) })
	var newest, newestStraight int64 // the newest handed over so far: of all, and of those never refused
	for _, m := range list {
		if m.acked < newest || !m.refused && m.sent < newestStraight {
			late = append(late, m)
		}
		newest = max(newest, m.sent)
		if !m.refused {
			newestStraight = max(newestStraight, m.sent)
		}
	}
	return late
}
