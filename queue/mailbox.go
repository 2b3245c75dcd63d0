package queue

import (
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Outlet is the live connection of a mailbox's recipient.
type Outlet interface {
	// Opens reports whether the recipient's client can open a message. If not, the
	// message waits for a connection that can. The rules of Push apply.
	Opens(m *Message) bool
	// Push hands over an encoded push frame. It is called under the mailbox's lock and
	// must not block; the window bounds how much can be handed over unacknowledged.
	Push(frame []byte)
	// CaughtUp is called once after Attach: when everything that waited and may pass
	// the gate has been pushed, or when the outlet is detached before that. The rules of
	// Push apply.
	CaughtUp()
	// Flushed reports whether everything handed over has been written. Until then, leases
	// do not expire: on a slow line, redelivery would only make things worse.
	Flushed() bool
}

// mailbox is the in-memory side of a Mailbox. See the package comment for its
// states.
type mailbox struct {
	addr  Mailbox
	queue *Queue

	mu       sync.Mutex
	state    mailboxState
	out      Outlet // nil: nobody is attached
	gate     gate
	starting bool  // out has not caught up yet
	cursor   int64 // behind or reading: every delivery up to this Seq has been dealt with
	page     page  // reading: what is read now

	window      window
	settling    settling
	uncommitted seqs // accepted, not pushed, and not yet known to be committed
}

func newMailbox(addr Mailbox, q *Queue) *mailbox {
	b := &mailbox{addr: addr, queue: q}
	b.window.flights = make(map[wire.ID]*flight)
	b.settling.at = make(map[int64]time.Time)
	return b
}

// idleLocked reports whether the mailbox can be dropped from memory.
func (b *mailbox) idleLocked() bool {
	return b.state == away && len(b.uncommitted) == 0 && len(b.settling.at) == 0
}

// offer pushes a new delivery at once, or notes that a drain must read it from the store
// once it is committed. It returns false if the mailbox was dropped.
func (b *mailbox) offer(e *Entry, i int, frame []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == dropped {
		return false
	}
	m, seq := &e.accepted.Message, e.accepted.Recipients[i].Seq
	e.slots[i].box = b
	passes := b.state.attached() && (b.gate == open || m.Priority == wire.Now) && b.out.Opens(m)
	if passes && b.state == upToDate && b.window.room(len(frame)) {
		e.slots[i].offered = true
		b.pushLocked(&flight{seq: seq, size: len(frame), clientID: m.ClientID, entry: e, index: i}, m.ID, frame)
		return true
	}
	b.uncommitted.add(seq)
	switch {
	case passes:
		b.fallBehindLocked(seq)
	case b.state.attached():
		b.gate.hold()
	}
	return true
}

func (b *mailbox) pushLocked(f *flight, id wire.ID, frame []byte) {
	b.window.add(id, f, b.queue.settings().DeliveryLease)
	b.queue.stats.pushed.Add(1)
	b.queue.traces.pushed(id, f.seq)
	b.out.Push(frame)
}

// fallBehindLocked notes that the drain must read a delivery from the store. The mailbox must
// be attached.
func (b *mailbox) fallBehindLocked(seq int64) {
	switch {
	case b.state == upToDate:
		b.becomeLocked(behind)
		b.cursor = seq - 1
	case seq <= b.cursor:
		b.cursor = seq - 1
		b.page.stale = true
	}
}

// drainFromLocked makes the drain read the store from a delivery on that came into the store or
// must be pushed again. The mailbox must be attached.
func (b *mailbox) drainFromLocked(seq int64) {
	b.fallBehindLocked(seq)
	b.page.missed = min(b.page.missed, seq)
	b.startDrainLocked()
}

// stored is called when the fate of a delivery's message is known. kept is false
// when this delivery is surely not in the store: the message is a repetition.
func (b *mailbox) stored(s *slot, id wire.ID, seq int64, kept bool) {
	if idle := b.noteStored(s, id, seq, kept); idle {
		b.queue.drop(b)
	}
}

func (b *mailbox) noteStored(s *slot, id wire.ID, seq int64, kept bool) (idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.window.flights[id]; f != nil && f.seq == seq {
		f.entry = nil
		if !kept {
			b.window.remove(id, f)
		}
	}
	if s.offered {
		return false
	}
	b.uncommitted.remove(seq)
	if b.state == behind || b.state == reading {
		b.drainFromLocked(seq)
	}
	return b.idleLocked()
}

// lookBack makes the drain read everything in the store again. It is called when the store
// turned out to have a message already: a commit that seemed to have failed may have stored
// it after the drain had passed its place, so that nobody has pushed it.
func (b *mailbox) lookBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state.attached() { // otherwise the drain after the next attach reads everything
		b.gate.hold()
		b.drainFromLocked(1)
	}
}

// attach sets the recipient's connection and starts the drain. It returns false if
// the mailbox was dropped.
func (b *mailbox) attach(out Outlet, urgentOnly bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case dropped:
		return false
	case away:
		b.becomeLocked(behind)
	case abandoned:
		b.becomeLocked(reading)
	}
	b.takeBackLocked()
	b.out, b.starting, b.gate = out, true, open
	if urgentOnly {
		b.gate = holding
	}
	b.drainFromLocked(1)
	b.page.stale = true
	return true
}

// detach lets go of out, if it is still the recipient's connection.
func (b *mailbox) detach(out Outlet) (idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == out {
		b.takeBackLocked()
		b.out = nil
		if b.state == reading {
			b.becomeLocked(abandoned)
		} else {
			b.becomeLocked(away)
		}
	}
	return b.idleLocked()
}

// takeBackLocked takes back the previous connection's flights. A drain reads those in the
// store again; the others must be committed first.
func (b *mailbox) takeBackLocked() {
	b.window.lease = 0
	if b.starting {
		b.starting = false
		b.out.CaughtUp()
	}
	for _, f := range b.window.flights {
		b.window.delay(f)
		if f.entry == nil {
			continue
		}
		if s := &f.entry.slots[f.index]; s.offered {
			s.offered = false
			b.uncommitted.add(f.seq)
		}
	}
}

// setGate opens or closes the gate for messages that are not urgent.
func (b *mailbox) setGate(out Outlet, urgentOnly bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != out || b.gate.urgentOnly() == urgentOnly {
		return
	}
	waits := b.gate == holding
	switch {
	case urgentOnly && b.state != upToDate:
		b.gate = holding
	case urgentOnly:
		b.gate = shut
	default:
		b.gate = open
	}
	b.page.stale = true // it was read for another gate
	if waits {
		b.drainFromLocked(1)
	}
}

// acknowledge settles the delivery that an acknowledgement means: the one with the
// message id, else the oldest with the client's id. It returns false when there is none.
func (b *mailbox) acknowledge(out Outlet, id wire.ID, clientID string) bool {
	now := time.Now()
	f, entry := b.noteAcknowledged(out, id, clientID, now)
	if f == nil {
		return false
	}
	s := Settlement{Mesh: b.addr.Mesh, Seq: f.seq, State: Delivered, At: now}
	if entry == nil || entry.acknowledged(f.index, s) {
		b.queue.journal.Settle(Settling{s, b})
	} else {
		b.settled(f.seq)
	}
	return true
}

// noteAcknowledged removes from the window the flight that an acknowledgement means, and
// returns it with its entry, which is nil if the message is stored. It returns a nil flight if
// there is none.
func (b *mailbox) noteAcknowledged(out Outlet, id wire.ID, clientID string, now time.Time) (*flight, *Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != out {
		return nil, nil
	}
	id, f := b.window.find(id, clientID)
	if f == nil {
		return nil, nil
	}
	b.window.remove(id, f)
	b.queue.traces.acknowledged(id, f.seq)
	b.window.shorten(now, b.queue.settings().DeliveryLease)
	b.settling.at[f.seq] = now
	if b.window.roomy() {
		b.startDrainLocked()
	}
	return f, f.entry
}

// settled is called when the store knows of an acknowledgement. A page that is being read
// may still show the delivery as pending.
func (b *mailbox) settled(seq int64) {
	if idle := b.noteSettled(seq); idle {
		b.queue.drop(b)
	}
}

func (b *mailbox) noteSettled(seq int64) (idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == reading {
		b.settling.late = append(b.settling.late, seq)
	} else {
		delete(b.settling.at, seq)
	}
	return b.idleLocked()
}

// expireLeases takes back pushes whose lease has expired, so that a drain redelivers them
// in order. Redelivery backs off: each lease is twice as long as the one before.
func (b *mailbox) expireLeases(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.state.attached() || b.window.airborne == 0 || !b.out.Flushed() {
		return
	}
	if n, oldest := b.window.expire(now); n > 0 {
		b.queue.stats.redelivered.Add(n)
		b.gate.hold() // it may have passed when the gate was open
		b.drainFromLocked(oldest)
	}
	b.startDrainLocked() // even if there is little room
}
