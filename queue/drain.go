package queue

import (
	"context"
	"math"
	"time"
)

// drainPage is how many deliveries a drain reads at a time.
const drainPage = 64

// drainRetry is how long a drain waits when the store is out of reach.
const drainRetry = time.Second

// drainTimeout is how long a page may take to be read.
const drainTimeout = 10 * time.Second

// startDrain makes sure that a drain is at work, if there is room for what it
// would push. The caller holds b.mu.
func (b *mailbox) startDrain() {
	if b.draining || b.out == nil || !b.behind || !b.room(0) {
		return
	}
	if !b.queue.begin() {
		return // stopping
	}
	b.draining = true
	go func() {
		defer b.queue.end()
		b.drain(b.queue.ctx)
	}()
}

// drain pushes from the store what the mailbox is behind with.
func (b *mailbox) drain(ctx context.Context) {
	for {
		b.mu.Lock()
		b.forgetSettled()
		if ctx.Err() != nil || b.out == nil || !b.behind || !b.room(0) {
			b.draining = false
			idle := b.idle()
			b.mu.Unlock()
			if idle {
				b.queue.drop(b)
			}
			return
		}
		generation, urgentOnly, after := b.generation, b.urgentOnly, b.cursor
		b.again, b.late = false, math.MaxInt64
		b.mu.Unlock()

		page, err := b.readPage(ctx, after, urgentOnly)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(drainRetry):
			}
			continue
		}
		if b.deliver(page, generation, urgentOnly, after) {
			return
		}
	}
}

// readPage reads what comes next. Not without an end: a connection to the store may
// have gone silent, and nobody else looks after the mailbox meanwhile.
func (b *mailbox) readPage(ctx context.Context, after int64, urgentOnly bool) ([]Waiting, error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	return b.queue.store.Backlog(ctx, b.addr, after, urgentOnly, drainPage)
}

// deliver pushes one page. It returns true when the drain is over.
func (b *mailbox) deliver(page []Waiting, generation int, urgentOnly bool, after int64) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.generation != generation || b.urgentOnly != urgentOnly || b.cursor != after {
		return false // attached anew, or something older came into the store: look again
	}
	// Messages of different senders may come into the store in another order than
	// that of Seq: what did while the page was read is looked for again.
	defer func() { b.cursor = min(b.cursor, b.late) }()
	uncommitted := b.uncommitted
	for i := range page {
		w := &page[i]
		// What is being committed may be in the page already. One that is not, and has a
		// lower Seq, must be waited for: a later one of its sender may be in the page.
		if len(uncommitted) > 0 && uncommitted[0] == w.Seq {
			uncommitted = uncommitted[1:]
		}
		if len(uncommitted) > 0 && uncommitted[0] < w.Seq {
			if b.again {
				return false
			}
			b.endDrain()
			return true // its commit goes on from here
		}
		_, acknowledged := b.settling[w.Seq]
		if f := b.flights[w.Message.ID]; acknowledged || f != nil && !f.overdue || !b.out.Opens(&w.Message) {
			b.cursor = w.Seq
			continue
		}
		frame := encode(&w.Message, w.SameMember)
		if !b.room(len(frame)) {
			b.endDrain()
			return true // an acknowledgement goes on from here
		}
		b.cursor = w.Seq
		b.push(&flight{seq: w.Seq, size: len(frame), clientID: w.Message.ClientID}, w.Message.ID, frame)
	}
	if len(page) == drainPage || b.again {
		return false
	}
	b.endDrain()
	if len(b.uncommitted) == 0 {
		b.behind = false
		if !urgentOnly {
			b.forgetOverdue()
		}
	}
	// Otherwise what is on its way into the store goes on from here.
	if b.starting {
		b.starting = false
		b.out.CaughtUp()
	}
	return true
}

// endDrain notes that no page is read any more. Somebody is attached still, so the
// mailbox stays.
func (b *mailbox) endDrain() {
	b.draining = false
	b.forgetSettled()
}

// forgetOverdue drops the flights that the store no longer has: their messages
// have expired.
func (b *mailbox) forgetOverdue() {
	for id, f := range b.flights {
		if f.overdue {
			delete(b.flights, id)
		}
	}
}
