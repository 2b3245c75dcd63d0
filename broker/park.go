package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// parkBytes bounds the bytes of a connection's sends that wait to be admitted, as
	// queue.Burden counts them. ackLimit bounds their number.
	parkBytes = 1 << 20
	// parkedBytes bounds those of all connections together. Each connection may use what is
	// left of it, so a few get parkBytes each, and many get little.
	parkedBytes = 4 << 20
	// parkLeast is what each connection may use in any case.
	parkLeast = 32 << 10
	// parkTime is how long a send waits: v1 clients give up after 10 s without an ack.
	parkTime = 5 * time.Second
	// historyPause is the pause between attempts to read a sender's history.
	historyPause = 100 * time.Millisecond
)

// arrival is a send that was read, on its way to the queue.
type arrival struct {
	wire.Send
	slot   *ackSlot
	at     time.Time
	isCopy bool
	trace  *journey
}

// cost is the send's share of the journal's budget. The size of a group is not known yet.
func (a *arrival) cost() int64 {
	return queue.Burden{
		Messages: 1, Deliveries: int64(len(a.Targets)), Bytes: int64(len(a.Nonce) + len(a.Ciphertext)),
	}.Size()
}

// park holds the sends of one connection that wait to be admitted, in order. Its
// goroutine exists only while there are any.
type park struct {
	all *atomic.Int64 // bytes that wait on all connections

	mu      sync.Mutex
	waiting []*arrival // the first is being admitted
	bytes   int64
	over    bool          // nothing more is admitted
	room    chan struct{} // capacity 1: has a token when something has left
	ended   chan struct{} // closed when the goroutine has ended; nil: there is none
}

// empty reports whether nothing waits, so that the next send may bypass the park.
func (p *park) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) == 0
}

// add makes a send wait behind the others. It blocks while the park is full. ok is false if the
// connection has ended; begin is true if the caller must start the goroutine.
func (p *park) add(a *arrival, gone <-chan struct{}) (begin, ok bool) {
	for {
		p.mu.Lock()
		if p.room == nil {
			p.room = make(chan struct{}, 1)
		}
		if p.over {
			p.mu.Unlock()
			return false, false
		}
		if p.fitsLocked(a) {
			break
		}
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-gone:
			return false, false
		}
	}
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, a)
	p.countLocked(a.cost())
	if p.ended != nil {
		return false, true
	}
	p.ended = make(chan struct{})
	return true, true
}

// fitsLocked reports whether one more may wait; a single one always may.
func (p *park) fitsLocked(a *arrival) bool {
	limit := min(parkBytes, max(parkLeast, parkedBytes-p.all.Load()))
	return len(p.waiting) == 0 || p.bytes+a.cost() <= limit
}

// countLocked adds to what waits.
func (p *park) countLocked(bytes int64) {
	p.bytes += bytes
	p.all.Add(bytes)
}

// dropLocked drops what waits, and takes no more.
func (p *park) dropLocked() {
	p.over, p.waiting = true, nil
	p.countLocked(-p.bytes)
}

// first returns the send whose turn it is, or nil: then the goroutine must end.
func (p *park) first() *arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		close(p.ended)
		p.waiting, p.ended = nil, nil
		return nil
	}
	return p.waiting[0]
}

// shift takes the first send out.
func (p *park) shift() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return // discarded
	}
	p.countLocked(-p.waiting[0].cost())
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	select {
	case p.room <- struct{}{}:
	default:
	}
}

// discard drops everything, now and from now on, and waits for the send that is being admitted.
// The client has no ack for what was dropped, and sends it again.
func (p *park) discard() {
	p.mu.Lock()
	p.dropLocked()
	ended := p.ended
	p.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// parked returns how many sends wait.
func (p *park) parked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// fail ends the park after its goroutine has panicked.
func (p *park) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked()
	close(p.ended)
	p.ended = nil
}

// unpark admits what is parked, one after the other.
func (c *conn) unpark() {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			c.park.fail()
			c.kill()
		}
	}()
	for a := c.park.first(); a != nil; a = c.park.first() {
		c.admitParked(a)
		c.park.shift()
	}
}

// admitParked waits until there is room for a send. Without room in time, the send is refused. If
// the connection ends, it is dropped.
func (c *conn) admitParked(a *arrival) {
	ctx, cancel := context.WithDeadline(c.dead, a.at.Add(parkTime))
	defer cancel()
	defer func() { c.broker.stats.observer.Held(time.Since(a.at)) }()
	err := c.prepare(ctx, a)
	if err == nil && c.repeated(a) {
		return
	}
	if err == nil {
		err = c.broker.awaitClaimed(ctx)
	}
	if err == nil {
		err = c.broker.journal.Reserve(ctx, c.actor.MemberID, a.cost())
	}
	switch ending := c.dead.Err() != nil || c.how.load() != endByPeer; {
	case err == nil && ending:
		c.broker.journal.Release(c.actor.MemberID, a.cost())
	case err == nil:
		c.forward(a)
	case !ending:
		c.refuse(a, &refusal{wire.AckQueueFull, fmt.Sprintf("not admitted within %d s: %s", int(parkTime.Seconds()), reason(err))})
	}
}

// reason tells a sender why there was no room, without details of the storage.
func reason(err error) string {
	if errors.Is(err, queue.ErrUnavailable) || errors.Is(err, storage.ErrSuspended) || storage.IsLost(err) {
		return errAway.text
	}
	return queue.ErrFull.Error()
}

// prepare loads the sender's history.
func (c *conn) prepare(ctx context.Context, a *arrival) error {
	if a.ClientID == "" {
		return nil
	}
	for {
		err := c.room.queue.Prepare(ctx, c.actor.MemberID)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(historyPause):
		case <-ctx.Done():
			if c.dead.Err() == nil {
				c.broker.storageFailed("read", err)
				c.broker.log.Warn("reading a sender's history failed; its send is refused", zap.Error(err))
			}
			return err
		}
	}
}
