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
	// batchMessages bounds a batch, to keep its latency near that of a single message:
	// 256 messages take about as long as ten.
	batchMessages = 256
	// batchCost bounds it too, since a message to many has a row for each recipient.
	batchCost = 1 << 20
	// batchOthers bounds the acknowledgements, and likewise the presences, of a batch.
	batchOthers = 4096

	// linger is how long acknowledgements and presences wait for others to join their
	// batch when no message is waiting. It never delays a sender.
	linger = 20 * time.Millisecond

	// patience is how long a commit may take, and how long a batch is retried before its
	// messages, and those behind it, are refused.
	patience = 5 * time.Second

	// slowAfter is how long a commit may take before the storage counts as unresponsive.
	slowAfter = 3 * time.Second

	// The pause between attempts while the storage is unreachable: the first, and the
	// longest.
	retrySoon  = 20 * time.Millisecond
	retryAfter = 500 * time.Millisecond

	// backlogOthers bounds what waits for the storage besides messages. Beyond it, new
	// connections are refused.
	backlogOthers = 32_768
)

var errLost = errors.New("the storage did not confirm the commit")

// Journal writes what the broker decides. Its methods are safe for concurrent use. Only
// those that take a context block. It implements queue.Journal.
type Journal struct {
	store Store
	watch Observer
	log   *zap.Logger
	wake  chan struct{} // capacity 1: something was added

	mu      sync.Mutex
	pending pending
	writing map[presenceRef]presence.Record // presences of the batch that is being committed
	down    error                           // why messages can't be stored; nil if they can
	began   time.Time                       // when the current commit began; zero: none is under way
	stored  time.Time                       // when a commit with messages last succeeded
	lost    meshes                          // of which nothing may be stored

	heads map[wire.ID]audit.Head // newest links known to be stored; owned by Run
	stats counters
}

// New returns a journal that writes to a store. Messages of a total cost of budget bytes may
// wait for it; see DefaultBudget. Nothing is written before Run is called.
func New(store Store, log *zap.Logger, budget int64) *Journal {
	j := &Journal{store: store, watch: unobserved{}, log: log, wake: make(chan struct{}, 1), heads: make(map[wire.ID]audit.Head), lost: make(meshes)}
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
	j.pending.settling.add(s)
	j.mu.Unlock()
	j.signal()
}

// Close implements queue.Journal.
func (j *Journal) Close(c queue.Closing) {
	j.mu.Lock()
	j.pending.closed.add(closing{c, j.pending.budget.number})
	j.mu.Unlock()
	j.signal()
}

// Record appends events to their meshes' audit logs.
func (j *Journal) Record(events ...audit.Event) {
	j.mu.Lock()
	j.pending.events.add(events...)
	j.mu.Unlock()
	j.signal()
}

// Remember stores a hello that was accepted.
func (j *Journal) Remember(h Hello) {
	j.mu.Lock()
	j.pending.hellos.add(h)
	j.mu.Unlock()
	j.signal()
}

// Forget drops a mesh's audit head from memory. It is read again when it is needed.
func (j *Journal) Forget(mesh wire.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending.forgotten = append(j.pending.forgotten, mesh)
}

// Save stores presences; a newer record of a presence replaces an older one.
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

// SaveNow is Save of one record. It returns once the record is stored, or when ctx ends. It
// returns ErrMoved if the journal gives the record up because the broker has lost the mesh.
func (j *Journal) SaveNow(ctx context.Context, r presence.Record) error {
	s := saving{r.MeshID, make(chan error, 1)}
	j.mu.Lock()
	j.pending.presences[presenceRef{r.MeshID, r.Identity}] = r
	j.pending.saved = append(j.pending.saved, s)
	j.mu.Unlock()
	j.signal()
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("store a presence: %w", ctx.Err())
	}
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

// Full reports whether so much waits for the storage that new connections should be
// refused.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := &j.pending
	return p.events.len()+p.hellos.len()+p.closed.len()+len(p.presences) > backlogOthers
}

// Presence returns a record that was saved and is not stored yet.
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

// Flush starts the next commit at once and waits until everything added before is stored,
// or until ctx ends.
func (j *Journal) Flush(ctx context.Context) error {
	done := make(chan struct{})
	j.mu.Lock()
	j.pending.flushed = append(j.pending.flushed, flushing{j.pending.ends(), done})
	j.mu.Unlock()
	j.signal()
	return await(ctx, done, "flush the journal")
}

// Down returns why messages can't be stored, or nil if, as far as is known, they can.
func (j *Journal) Down() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down == nil && !j.began.IsZero() {
		if d := time.Since(j.began); d > slowAfter {
			return fmt.Errorf("a commit has been running for %s: %w", d.Round(time.Second), context.DeadlineExceeded)
		}
	}
	return j.down
}

// Stored returns when a message was last stored; zero if none was.
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

// Run commits batches until ctx ends. Call Flush before that.
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

// commitNext commits one batch, and retries until it succeeds. The batch may have been
// stored although no answer came, so it must not change, except that messages may be
// refused. commitNext returns true if there may be more to do.
func (j *Journal) commitNext(ctx context.Context) bool {
	j.serveDrops(&work{})
	if !j.gather(ctx) {
		return j.down != nil && j.committed(ctx, &work{})
	}
	work := j.take()
	j.dropLost(&work)
	began := time.Now()
	for pause := retrySoon; ; pause = min(2*pause, retryAfter) {
		j.serveDrops(&work)
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

// committed ends an outage, if there was one. It returns true, like commitNext.
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

// gather waits a moment for more to do if nobody waits for what is pending. It returns
// false if nothing is pending.
func (j *Journal) gather(ctx context.Context) bool {
	j.mu.Lock()
	empty, urgent := j.pending.empty(), j.pending.urgent()
	if empty {
		for _, f := range j.pending.flushed {
			close(f.done)
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

// recovered returns why an outage goes on, or nil if there is none. An outage is over when a
// message could be stored. A batch that was stored does not prove that: a full disk may
// still have room for something smaller.
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
		j.log.Error("storage unreachable; new messages wait until it is back", zap.Error(err))
	case err != nil:
		j.failed(err)
	case was != nil:
		j.log.Info("storage is back")
	}
}
