package queue

import (
	"context"
	"fmt"
	"math"
	"time"
)

// drainPage is how many deliveries a drain reads at a time.
const drainPage = 64

// drainRetry is how long a drain waits after it failed to read the store.
const drainRetry = time.Second

// drainTimeout is how long a page may take to be read.
const drainTimeout = 10 * time.Second

// page is what a drain reads: the deliveries after a Seq that pass the gate.
type page struct {
	after      int64
	urgentOnly bool
	// missed is the least Seq of what came into the store while the page was read:
	// the page may lack it.
	missed int64
	stale  bool // the page must be read again: the cursor, the gate or the outlet has changed
}

// startDrainLocked makes sure that a mailbox that is behind is read, if there is room for
// what would be pushed.
func (b *mailbox) startDrainLocked() {
	if b.state != behind || !b.window.room(0) || !b.queue.begin() {
		return
	}
	b.becomeLocked(reading)
	go func() {
		defer b.queue.end()
		b.drain(b.queue.ctx)
	}()
}

// drain reads what the mailbox is behind with from the store, and pushes it.
func (b *mailbox) drain(ctx context.Context) {
	for {
		p, more, idle := b.turnPage(ctx)
		if idle {
			b.queue.drop(b)
		}
		if !more {
			return
		}
		list, err := b.readPage(ctx, p)
		if err != nil {
			b.queue.readFailed(fmt.Errorf("read what waits in mailbox %s of mesh %s: %w", b.addr.Name, b.addr.Mesh, err))
			select {
			case <-ctx.Done():
			case <-time.After(drainRetry):
			}
			continue
		}
		if over := b.deliver(list); over {
			return
		}
	}
}

// turnPage returns the page to read next. Without more, the drain is over; idle then reports
// whether the mailbox can be dropped.
func (b *mailbox) turnPage(ctx context.Context) (p page, more, idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settling.forgetLate()
	switch {
	case b.state == abandoned:
		b.becomeLocked(away)
	case ctx.Err() != nil || !b.window.room(0):
		b.becomeLocked(behind)
	default:
		b.page = page{after: b.cursor, urgentOnly: b.gate.urgentOnly(), missed: math.MaxInt64}
		return b.page, true, false
	}
	return page{}, false, b.idleLocked()
}

// readPage reads a page, within drainTimeout: a connection to the store may have gone
// silent, and nobody else looks after the mailbox meanwhile.
func (b *mailbox) readPage(ctx context.Context, p page) ([]Waiting, error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	return b.queue.store.Backlog(ctx, b.addr, p.after, p.urgentOnly, drainPage)
}

// deliver pushes what was read. It returns true when the drain is over.
func (b *mailbox) deliver(list []Waiting) (over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == abandoned || b.page.stale {
		return false
	}
	next := b.pushPageLocked(list)
	// Messages of different senders may be stored in another order than that of Seq: the
	// drain goes back to what was stored while it read the page.
	again := b.page.missed < math.MaxInt64
	if again {
		b.cursor = min(b.cursor, b.page.missed-1)
	}
	switch next {
	case whenCommitted:
		if again {
			return false
		}
		b.endDrainLocked(behind)
		return true
	case whenAcknowledged:
		b.endDrainLocked(behind)
		return true
	}
	if len(list) == drainPage || again {
		return false
	}
	if len(b.uncommitted) > 0 {
		b.endDrainLocked(behind) // what is on its way into the store goes on from here
	} else {
		b.endDrainLocked(upToDate)
		if b.gate == open {
			b.window.forgetOverdue()
		}
	}
	if b.starting {
		b.starting = false
		b.out.CaughtUp()
	}
	return true
}

// resumption says when the rest of a page can be pushed.
type resumption uint8

const (
	atOnce           resumption = iota // all of it was pushed
	whenCommitted                      // once something older has been committed
	whenAcknowledged                   // once there is room
)

// pushPageLocked pushes the deliveries of a page, as long as there is room for them and no
// older delivery must come first.
func (b *mailbox) pushPageLocked(list []Waiting) resumption {
	uncommitted := b.uncommitted
	for i := range list {
		w := &list[i]
		// The page may hold deliveries whose commit is not confirmed yet. The drain must wait
		// for an uncommitted delivery that the page lacks if its Seq is lower: the page may
		// hold a later message of the same sender.
		if len(uncommitted) > 0 && uncommitted[0] == w.Seq {
			uncommitted = uncommitted[1:]
		}
		if len(uncommitted) > 0 && uncommitted[0] < w.Seq {
			return whenCommitted
		}
		_, acknowledged := b.settling.at[w.Seq]
		if f := b.window.flights[w.Message.ID]; acknowledged || f != nil && !f.overdue || !b.out.Opens(&w.Message) {
			b.cursor = w.Seq
			continue
		}
		frame := encode(&w.Message, w.SameMember)
		if !b.window.room(len(frame)) {
			return whenAcknowledged
		}
		b.cursor = w.Seq
		b.pushLocked(&flight{seq: w.Seq, size: len(frame), clientID: w.Message.ClientID}, w.Message.ID, frame)
	}
	return atOnce
}

// endDrainLocked notes that no page is read any more.
func (b *mailbox) endDrainLocked(next mailboxState) {
	b.becomeLocked(next)
	b.settling.forgetLate()
}
