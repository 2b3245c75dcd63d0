package queue

import (
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Outlet is the live connection of a mailbox's recipient.
type Outlet interface {
	// Opens reports whether the recipient's client can open a message. One that it
	// can't open waits for a connection that can. The rules of Push hold.
	Opens(m *Message) bool
	// Push hands over an encoded push frame. It is called under the mailbox's lock and
	// must not block; the window bounds how much can be handed over unacknowledged.
	Push(frame []byte)
	// CaughtUp is called once after Attach, when what had been waiting and may
	// pass the gate has been pushed, or when the mailbox is no longer the
	// connection's before that. The same rules hold.
	CaughtUp()
	// Flushed reports whether everything handed over has been written. Leases do
	// not run out before: on a slow line a repetition would only make it slower.
	Flushed() bool
}

// The window bounds what is pushed to one recipient and not yet acknowledged. A
// message that is larger than the window is pushed alone.
const (
	windowCount = 256
	windowBytes = 1 << 20
)

// mailbox is the in-memory side of a Mailbox. See the package comment for its
// states.
type mailbox struct {
	addr  Mailbox
	queue *Queue

	mu         sync.Mutex
	out        Outlet // nil: nobody is attached
	generation int    // counts attachments, so that a drain notices a new one
	urgentOnly bool   // the gate: only priority now passes
	starting   bool   // attached, and not yet caught up
	// lease is how long what is pushed now may go unacknowledged. It is 0, which
	// stands for the shortest, since the recipient has last come or acknowledged.
	lease time.Duration

	flights     map[wire.ID]*flight // pushed and not acknowledged
	airborne    int                 // those of them that are not overdue: they fill the window
	flightBytes int                 // of those
	settling    map[int64]time.Time // acknowledged then; the store, or a page read from it, does not know yet
	settledLate []int64             // of those, what came into the store while a page was read

	uncommitted []int64 // Seqs accepted and not offered, whose commit is not known, ascending
	behind      bool    // the store may hold deliveries that may be pushed and have not been
	held        bool    // the store may hold deliveries that wait for the gate
	cursor      int64   // the drain has dealt with every delivery up to this Seq
	late        int64   // what came into the store while a page was read begins after this Seq
	draining    bool    // a drain goroutine is at work
	again       bool    // something came into the store while it was
	dropped     bool    // no longer in the queue's index: get another
}

// flight is a push that has not been acknowledged. An overdue one is to be pushed
// again, because its lease ran out or its connection ended; until then it is
// still acknowledged by an answer to the first push.
type flight struct {
	seq      int64
	overdue  bool
	size     int
	lease    time.Duration
	deadline time.Time
	clientID string
	entry    *Entry // nil once stored
	index    int    // of the recipient in entry
}

// room tells whether one more push of size bytes fits into the window.
func (b *mailbox) room(size int) bool {
	return b.airborne == 0 || b.airborne < windowCount && b.flightBytes+size <= windowBytes
}

// forgetSettled is for when no page is being read: the next one will know.
func (b *mailbox) forgetSettled() {
	for _, seq := range b.settledLate {
		delete(b.settling, seq)
	}
	b.settledLate = nil
}

// roomy tells whether there is enough room for a page, so that a slow recipient
// does not cost a query per acknowledgement.
func (b *mailbox) roomy() bool {
	return b.airborne <= windowCount/2 && b.flightBytes <= windowBytes/2
}

// idle tells whether the mailbox can be dropped from memory.
func (b *mailbox) idle() bool {
	return b.out == nil && len(b.uncommitted) == 0 && len(b.settling) == 0
}

// offer pushes a new delivery at once, or notes that it must be drained from the
// store once it is there. It returns false when the mailbox is no longer in use.
func (b *mailbox) offer(e *Entry, i int, frame []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return false
	}
	e.slots[i].box = b
	seq := e.accepted.Recipients[i].Seq
	passes := b.out != nil && (!b.urgentOnly || e.accepted.Priority == wire.Now) && b.out.Opens(&e.accepted.Message)
	if passes && !b.behind && b.room(len(frame)) {
		e.slots[i].offered = true
		b.push(&flight{seq: seq, size: len(frame), clientID: e.accepted.ClientID, entry: e, index: i}, e.accepted.ID, frame)
		return true
	}
	b.await(seq)
	switch {
	case passes && !b.behind:
		b.behind, b.cursor = true, seq-1
	case passes:
		b.cursor = min(b.cursor, seq-1)
	case b.out != nil:
		b.held = true
	}
	return true
}

// await notes that a delivery's commit is waited for. Most come in order of Seq.
func (b *mailbox) await(seq int64) {
	i, _ := slices.BinarySearch(b.uncommitted, seq)
	b.uncommitted = slices.Insert(b.uncommitted, i, seq)
}

// known undoes await. Most go in order of Seq, too.
func (b *mailbox) known(seq int64) {
	switch i, _ := slices.BinarySearch(b.uncommitted, seq); {
	case len(b.uncommitted) == 1:
		b.uncommitted = nil
	case i == 0:
		b.uncommitted = b.uncommitted[1:]
	default:
		b.uncommitted = slices.Delete(b.uncommitted, i, i+1)
	}
}

func (b *mailbox) push(f *flight, id wire.ID, frame []byte) {
	f.lease = max(b.lease, b.queue.settings().DeliveryLease)
	f.deadline = time.Now().Add(f.lease)
	b.flights[id] = f
	b.airborne++
	b.flightBytes += f.size
	b.queue.stats.pushed.Add(1)
	b.out.Push(frame)
}

// land takes a flight out of the window; delay leaves it to be pushed again.
func (b *mailbox) land(id wire.ID, f *flight) {
	b.delay(f)
	delete(b.flights, id)
}

func (b *mailbox) delay(f *flight) {
	if !f.overdue {
		f.overdue = true
		b.airborne--
		b.flightBytes -= f.size
	}
}

// stored is called when the fate of a delivery's message is known. kept is false
// when this delivery is surely not in the store: the message is a repetition.
func (b *mailbox) stored(s *slot, id wire.ID, seq int64, kept bool) {
	b.mu.Lock()
	if f := b.flights[id]; f != nil && f.seq == seq {
		f.entry = nil
		if !kept {
			b.land(id, f)
		}
	}
	if s.offered {
		b.mu.Unlock()
		return
	}
	b.known(seq)
	if b.behind {
		b.cursor = min(b.cursor, seq-1)
		b.late = min(b.late, seq-1)
		b.again = true
		b.startDrain()
	}
	idle := b.idle()
	b.mu.Unlock()
	if idle {
		b.queue.drop(b)
	}
}

// lookBack has everything in the store looked at again. It is called when a message was
// found to be there already. A commit that seemed to have failed may have put it there
// later, when the drain had passed its place, and then nobody has pushed it.
func (b *mailbox) lookBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == nil {
		return // who attaches looks at everything
	}
	b.held = b.held || b.urgentOnly
	b.behind, b.cursor, b.late = true, 0, 0
	b.again = true
	b.startDrain()
}

// attach makes out the recipient's connection and starts the drain.
// It returns false when the mailbox is no longer in use.
func (b *mailbox) attach(out Outlet, urgentOnly bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return false
	}
	b.reset()
	b.out, b.urgentOnly = out, urgentOnly
	b.starting, b.held = true, urgentOnly
	b.behind, b.cursor, b.again = true, 0, true
	b.startDrain()
	return true
}

// detach lets go of out, if it is still the recipient's connection.
func (b *mailbox) detach(out Outlet) (idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == out {
		b.reset()
		b.out, b.behind = nil, false
	}
	return b.idle()
}

// reset takes back the flights of the connection before. Those in the store will be
// read from there again; those that are not yet must be waited for.
func (b *mailbox) reset() {
	b.generation++
	b.held, b.lease = false, 0
	if b.starting {
		b.starting = false
		b.out.CaughtUp()
	}
	for _, f := range b.flights {
		b.delay(f)
		if f.entry == nil {
			continue
		}
		if s := &f.entry.slots[f.index]; s.offered {
			s.offered = false
			b.await(f.seq)
		}
	}
}

// gate opens or closes the mailbox for what is not urgent.
func (b *mailbox) gate(out Outlet, urgentOnly bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != out || b.urgentOnly == urgentOnly {
		return
	}
	b.urgentOnly = urgentOnly
	switch {
	case urgentOnly:
		b.held = b.held || b.behind
	case b.held:
		b.held = false
		b.behind, b.cursor = true, 0
		b.again = true
		b.startDrain()
	}
}

// acknowledge lands the flight that an acknowledgement means: the one with the
// message id, else the oldest with the client's id.
func (b *mailbox) acknowledge(out Outlet, id wire.ID, clientID string) bool {
	b.mu.Lock()
	if b.out != out {
		b.mu.Unlock()
		return false
	}
	f := b.flights[id]
	if f == nil && clientID != "" {
		for otherID, other := range b.flights {
			if other.clientID == clientID && (f == nil || other.seq < f.seq) {
				id, f = otherID, other
			}
		}
	}
	if f == nil {
		b.mu.Unlock()
		return false
	}
	b.land(id, f)
	now := time.Now()
	b.heard(now)
	b.settling[f.seq] = now
	entry := f.entry
	if b.behind && b.roomy() {
		b.startDrain()
	}
	b.mu.Unlock()

	s := Settlement{Mesh: b.addr.Mesh, Seq: f.seq, State: Delivered, At: now}
	if entry == nil || entry.acknowledged(f.index, s) {
		b.queue.journal.Settle(Settling{s, b})
	} else {
		b.settled(f.seq)
	}
	return true
}

// heard notes that the recipient has acknowledged something: what else it has been
// pushed is due again after the shortest lease, as if it had never been away.
func (b *mailbox) heard(now time.Time) {
	if b.lease == 0 {
		return
	}
	b.lease = 0
	shortest := b.queue.settings().DeliveryLease
	for _, f := range b.flights {
		if soon := now.Add(shortest); f.deadline.After(soon) {
			f.lease, f.deadline = shortest, soon
		}
	}
}

// settled is called when the store knows of an acknowledgement. A page that is
// being read may still be from before.
func (b *mailbox) settled(seq int64) {
	b.mu.Lock()
	if b.draining {
		b.settledLate = append(b.settledLate, seq)
	} else {
		delete(b.settling, seq)
	}
	idle := b.idle()
	b.mu.Unlock()
	if idle {
		b.queue.drop(b)
	}
}

// maxLease bounds how long a push may go unacknowledged by a recipient that has not
// acknowledged anything for long.
const maxLease = time.Hour

// expireLeases takes back pushes that went unacknowledged for too long, so that
// the drain pushes them again, in order. A recipient that does not acknowledge gets
// each of them half as often every time.
func (b *mailbox) expireLeases(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == nil || b.airborne == 0 || !b.out.Flushed() {
		return
	}
	for _, f := range b.flights {
		if f.entry != nil || f.overdue || now.Before(f.deadline) {
			continue
		}
		b.delay(f)
		b.lease = max(b.lease, min(2*f.lease, maxLease))
		if !b.behind {
			b.behind, b.cursor = true, f.seq-1
		}
		b.cursor = min(b.cursor, f.seq-1)
		b.late = min(b.late, f.seq-1)
		b.held = b.held || b.urgentOnly // it may have passed when the gate was open
		b.queue.stats.redelivered.Add(1)
	}
	if b.behind {
		b.again = true
		b.startDrain()
	}
}
