package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// batchMessages bounds a batch, so that its latency stays near that of a single
	// message: 256 messages cost about as much as ten.
	batchMessages = 256
	// batchCost bounds it too: messages to many cost a row for each.
	batchCost = 1 << 20
	// batchOthers bounds the acknowledgements, and the presences, of a batch.
	batchOthers = 4096

	// linger is how long acknowledgements and presences wait for company when no
	// message is waiting. A sender never waits for it.
	linger = 20 * time.Millisecond

	// patience is how long a commit may take, and how long a batch is tried before its
	// messages, and those behind it, are given back to their senders.
	patience = 5 * time.Second

	// slowAfter is how long a commit may take before the storage counts as one that does
	// not answer.
	slowAfter = 3 * time.Second

	// The pause between attempts while the storage is away: the first, and the longest.
	retrySoon  = 20 * time.Millisecond
	retryAfter = 500 * time.Millisecond

	// backlogOthers bounds what else than messages waits for the storage before nobody
	// who is new is let in.
	backlogOthers = 32_768
)

var errLost = errors.New("the storage did not confirm")

// Journal writes what the broker decides. Its methods are safe for concurrent
// use and do not block, but for those that take a context. It implements queue.Journal.
type Journal struct {
	store Store
	watch Observer
	log   *zap.Logger
	wake  chan struct{} // capacity 1: something was added

	mu      sync.Mutex
	pending pending
	writing map[presenceRef]presence.Record // presences of the batch that is being committed
	down    error                           // why messages can't be stored; nil when they can
	began   time.Time                       // when the commit under way did; zero: there is none
	stored  time.Time                       // when one with messages last succeeded

	heads map[wire.ID]audit.Head // newest links known to be stored; owned by Run
	stats counters
}

// pending is what the next batches are made of.
type pending struct {
	budget    budget // with the messages
	settling  []queue.Settling
	closed    []closing
	presences map[presenceRef]presence.Record
	flushed   []chan struct{} // waiters for everything added before them
	saved     []chan struct{} // waiters for the presences saved before them
	events    []audit.Event
	hellos    []Hello
	forgotten []wire.ID // meshes whose chain's end is to be read anew
}

// closing is the end of a mailbox after which an entry was accepted: it waits for that.
type closing struct {
	queue.Closing
	after int64 // the entry's number
}

type presenceRef struct {
	mesh wire.ID
	id   presence.Identity
}

func (p *pending) empty() bool {
	return p.budget.entries == 0 && len(p.settling) == 0 && len(p.closed) == 0 && len(p.presences) == 0 && len(p.events) == 0 &&
		len(p.hellos) == 0
}

// urgent reports whether somebody waits for the next commit.
func (p *pending) urgent() bool {
	return p.budget.entries > 0 || len(p.flushed) > 0 || len(p.saved) > 0
}

// New makes a journal over a store, in front of which messages may wait whose cost is
// budget, see DefaultBudget. Nothing is written until Run is called.
func New(store Store, log *zap.Logger, budget int64) *Journal {
	j := &Journal{store: store, watch: unobserved{}, log: log, wake: make(chan struct{}, 1), heads: make(map[wire.ID]audit.Head)}
	j.pending.presences = make(map[presenceRef]presence.Record)
	j.pending.budget.limit, j.pending.budget.shares = budget, make(map[wire.ID]*share)
	return j
}

// Accept implements queue.Journal.
func (j *Journal) Accept(e *queue.Entry) {
	j.mu.Lock()
	j.pending.budget.add(e)
	j.mu.Unlock()
	j.signal()
}

// Settle implements queue.Journal.
func (j *Journal) Settle(s queue.Settling) {
	j.mu.Lock()
	j.pending.settling = append(j.pending.settling, s)
	j.mu.Unlock()
	j.signal()
}

// Close implements queue.Journal.
func (j *Journal) Close(c queue.Closing) {
	j.mu.Lock()
	j.pending.closed = append(j.pending.closed, closing{c, j.pending.budget.number})
	j.mu.Unlock()
	j.signal()
}

// Record notes an event for the audit log.
func (j *Journal) Record(events ...audit.Event) {
	j.mu.Lock()
	j.pending.events = append(j.pending.events, events...)
	j.mu.Unlock()
	j.signal()
}

// Remember notes a hello that was accepted.
func (j *Journal) Remember(h Hello) {
	j.mu.Lock()
	j.pending.hellos = append(j.pending.hellos, h)
	j.mu.Unlock()
	j.signal()
}

// Forget drops what is remembered of a mesh: the end of its audit chain is read anew when
// it is needed.
func (j *Journal) Forget(mesh wire.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending.forgotten = append(j.pending.forgotten, mesh)
}

// Save takes presences in their newest form.
func (j *Journal) Save(records []presence.Record) {
	if len(records) == 0 {
		return
	}
	j.mu.Lock()
	for _, r := range records {
		j.pending.presences[presenceRef{r.MeshID, r.Identity}] = r
	}
	j.mu.Unlock()
	j.signal()
}

// SaveNow is Save of one record; it returns once that is stored, or when ctx ends.
func (j *Journal) SaveNow(ctx context.Context, r presence.Record) error {
	done := make(chan struct{})
	j.mu.Lock()
	j.pending.presences[presenceRef{r.MeshID, r.Identity}] = r
	j.pending.saved = append(j.pending.saved, done)
	j.mu.Unlock()
	j.signal()
	return await(ctx, done, "store a presence")
}

// await waits until done is closed, or ctx ends.
func await(ctx context.Context, done <-chan struct{}, doing string) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
}

// Full reports whether so much waits for the storage that nobody who is new should
// be let in.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := &j.pending
	return len(p.events)+len(p.hellos)+len(p.closed)+len(p.presences) > backlogOthers
}

// Presence returns a record that was saved and is not in the store yet.
func (j *Journal) Presence(meshID wire.ID, id presence.Identity) (presence.Record, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	ref := presenceRef{meshID, id}
	if r, ok := j.pending.presences[ref]; ok {
		return r, true
	}
	r, ok := j.writing[ref]
	return r, ok
}

// Flush waits until everything added before is stored. It has the next commit
// begin at once.
func (j *Journal) Flush(ctx context.Context) error {
	done := make(chan struct{})
	j.mu.Lock()
	j.pending.flushed = append(j.pending.flushed, done)
	j.mu.Unlock()
	j.signal()
	return await(ctx, done, "flush the journal")
}

// Down returns why messages can't be stored, nil when they can as far as is known.
func (j *Journal) Down() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down == nil && !j.began.IsZero() {
		if d := time.Since(j.began); d > slowAfter {
			return fmt.Errorf("a commit is under way for %s: %w", d.Round(time.Second), context.DeadlineExceeded)
		}
	}
	return j.down
}

// Stored returns when a message was stored last; zero: none was.
func (j *Journal) Stored() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stored
}

func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Run commits batches until ctx ends. Call Flush before ending it.
func (j *Journal) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
		}
		for j.commitNext(ctx) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// commitNext commits one batch, as often as it takes: it may have been stored although
// no answer came, so that it must not change but for messages that are given up. It
// returns true when there may be more to do.
func (j *Journal) commitNext(ctx context.Context) bool {
	if !j.gather(ctx) {
		return j.down != nil && j.committed(ctx, &work{})
	}
	work := j.take()
	began := time.Now()
	for pause := retrySoon; ; pause = min(2*pause, retryAfter) {
		err := j.commit(ctx, &work)
		if err == nil {
			return j.committed(ctx, &work)
		}
		j.setDown(err)
		if time.Since(began) >= patience {
			j.giveBack(&work)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// committed ends an outage if there was one, and returns true as commitNext does.
func (j *Journal) committed(ctx context.Context, w *work) bool {
	err := j.recovered(ctx)
	j.setDown(err)
	w.release()
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	return true
}

// gather waits a moment for company when nobody waits for what there is. It
// returns false when there is nothing.
func (j *Journal) gather(ctx context.Context) bool {
	j.mu.Lock()
	empty, urgent := j.pending.empty(), j.pending.urgent()
	if empty {
		for _, done := range j.pending.flushed {
			close(done)
		}
		j.pending.flushed = nil
	}
	j.mu.Unlock()
	if empty || urgent {
		return !empty
	}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-timer.C:
			return true
		case <-j.wake:
			j.mu.Lock()
			urgent = j.pending.urgent()
			j.mu.Unlock()
			if urgent {
				return true
			}
		}
	}
}

// recovered returns nil unless there is an outage that is not over. It is when a message
// could be stored. That the last batch was does not say so: a disk that is full for
// messages may have room for less.
func (j *Journal) recovered(ctx context.Context) error {
	if j.down == nil { // only Run writes it
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return j.store.Ping(ctx)
}

func (j *Journal) setDown(err error) {
	j.mu.Lock()
	was := j.down
	j.down = err
	j.pending.budget.shut = err != nil
	j.pending.budget.admit()
	j.mu.Unlock()
	switch {
	case err != nil && was == nil:
		j.failed(err)
		j.log.Error("storage is out of reach: new messages wait until it is back", zap.Error(err))
	case err != nil:
		j.failed(err)
	case was != nil:
		j.log.Info("storage is back")
	}
}
