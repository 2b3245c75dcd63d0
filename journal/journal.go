package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	// batchOthers bounds the acknowledgements, and the presences, of a batch.
	batchOthers = 4096

	// linger is how long acknowledgements and presences wait for company when no
	// message is waiting. A sender never waits for it.
	linger = 20 * time.Millisecond

	// commitTimeout is how long a commit may take before its messages are given
	// back to their senders.
	commitTimeout = 10 * time.Second

	// retryAfter is the pause between attempts while the storage is away.
	retryAfter = 500 * time.Millisecond

	// backlogBytes and backlogMessages bound what waits for the storage in memory: some
	// hundred milliseconds of all that a machine can send.
	backlogBytes    = 16 << 20
	backlogMessages = 32_768
)

var errLost = errors.New("the storage did not confirm")

// Journal writes what the broker decides. Its methods are safe for concurrent
// use and do not block. It implements queue.Journal.
type Journal struct {
	store Store
	log   *zap.Logger
	wake  chan struct{} // capacity 1: something was added

	mu      sync.Mutex
	pending pending
	writing map[presenceRef]presence.Record // presences of the batch that is being committed
	down    error                           // why the last commit failed; nil when it did not

	heads map[wire.ID]audit.Head // newest links known to be stored; owned by Run
	stats counters
}

// pending is what the next batches are made of.
type pending struct {
	entries   []*queue.Entry
	bytes     int
	settling  []queue.Settling
	closed    []queue.Closing
	presences map[presenceRef]presence.Record
	flushed   []chan struct{} // waiters for everything added before them
	saved     []chan struct{} // waiters for the presences saved before them
	events    []audit.Event
	hellos    []Hello
}

type presenceRef struct {
	mesh wire.ID
	id   presence.Identity
}

func (p *pending) empty() bool {
	return len(p.entries) == 0 && len(p.settling) == 0 && len(p.closed) == 0 && len(p.presences) == 0 && len(p.events) == 0 &&
		len(p.hellos) == 0
}

// urgent reports whether somebody waits for the next commit.
func (p *pending) urgent() bool { return len(p.entries) > 0 || len(p.flushed) > 0 || len(p.saved) > 0 }

// New makes a journal over a store. Nothing is written until Run is called.
func New(store Store, log *zap.Logger) *Journal {
	j := &Journal{store: store, log: log, wake: make(chan struct{}, 1), heads: make(map[wire.ID]audit.Head)}
	j.pending.presences = make(map[presenceRef]presence.Record)
	return j
}

// Ready implements queue.Journal.
func (j *Journal) Ready() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down != nil {
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, errLost)
	}
	if j.pending.bytes > backlogBytes || len(j.pending.entries) > backlogMessages {
		return queue.ErrFull
	}
	return nil
}

// Accept implements queue.Journal.
func (j *Journal) Accept(e *queue.Entry) {
	j.mu.Lock()
	j.pending.entries = append(j.pending.entries, e)
	j.pending.bytes += e.Size()
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
	j.pending.closed = append(j.pending.closed, c)
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
	return len(p.events)+len(p.hellos)+len(p.closed)+len(p.presences) > backlogMessages
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

// Down returns why the storage is out of reach, nil when it is not.
func (j *Journal) Down() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.down
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

// commitNext commits one batch. It returns true when there may be more to do.
func (j *Journal) commitNext(ctx context.Context) bool {
	if !j.gather(ctx) {
		return false
	}
	work := j.take()
	err := j.commit(ctx, &work)
	if err == nil {
		j.setDown(nil)
		work.release()
		return true
	}
	j.setDown(err)
	j.giveBack(&work)
	select {
	case <-ctx.Done():
	case <-time.After(retryAfter):
	}
	return true
}

// gather waits a moment for company when nobody waits for what there is. It
// returns false when there is nothing.
func (j *Journal) gather(ctx context.Context) bool {
	j.mu.Lock()
	empty, urgent := j.pending.empty(), j.pending.urgent()
	if j.down != nil {
		empty, urgent = false, true // an empty batch finds out whether the storage is back
	}
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

func (j *Journal) setDown(err error) {
	j.mu.Lock()
	was := j.down
	j.down = err
	j.mu.Unlock()
	switch {
	case err != nil && was == nil:
		j.stats.failures.Add(1)
		j.log.Error("storage is out of reach: new messages are refused until it is back", zap.Error(err))
	case err != nil:
		j.stats.failures.Add(1)
	case was != nil:
		j.log.Info("storage is back")
	}
}

// counters count since the journal was made.
type counters struct {
	commits, failures, messages, duplicates atomic.Int64
}

// Stats are the journal's counters.
type Stats struct {
	Commits    int64 // batches stored
	Failures   int64 // attempts that failed
	Messages   int64 // messages stored
	Duplicates int64 // messages that had been stored before
	Waiting    int   // messages not stored yet
}

// Stats returns a snapshot.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	waiting := len(j.pending.entries)
	j.mu.Unlock()
	return Stats{
		Commits: j.stats.commits.Load(), Failures: j.stats.failures.Load(), Messages: j.stats.messages.Load(),
		Duplicates: j.stats.duplicates.Load(), Waiting: waiting,
	}
}
