package journal

import (
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Observer is told of every attempt to store a batch. Its methods must not block.
type Observer interface {
	// Stored says that a batch with so many messages was stored, and how long that took.
	Stored(messages int, took time.Duration)
	// Failed says that an attempt failed.
	Failed(err error)
	// Lost says that the broker does not own these meshes any more. The journal stores
	// nothing of them until Drop.
	Lost(meshes []wire.ID)
}

// Watch sets the observer. Call it before Run.
func (j *Journal) Watch(o Observer) { j.watch = o }

type unobserved struct{}

func (unobserved) Stored(int, time.Duration) {}
func (unobserved) Failed(error)              {}
func (unobserved) Lost([]wire.ID)            {}

// counters count since the journal was made.
type counters struct {
	commits, failures, messages, deliveries, duplicates, audited atomic.Int64
}

// count counts a batch that was stored.
func (j *Journal) count(w *work, duplicates int, took time.Duration) {
	j.stats.commits.Add(1)
	j.stats.messages.Add(int64(len(w.entries) - duplicates))
	j.stats.duplicates.Add(int64(duplicates))
	j.stats.audited.Add(int64(len(w.batch.Audit)))
	deliveries := 0
	for _, m := range w.batch.Messages {
		deliveries += sentTo(m.Recipients)
	}
	j.stats.deliveries.Add(int64(deliveries))
	j.watch.Stored(len(w.entries), took)
}

func (j *Journal) failed(err error) {
	j.stats.failures.Add(1)
	j.watch.Failed(err)
}

// Stats are the journal's counters.
type Stats struct {
	Commits    int64 // batches stored
	Failures   int64 // attempts that failed
	Messages   int64 // messages stored
	Deliveries int64 // of the messages of all batches
	Duplicates int64 // messages that had been stored before
	Audited    int64 // entries added to the audit chains
	Waiting    int   // messages not stored yet
	Used       int64 // of the budget, by messages that are not stored yet or about to be accepted
	Budget     int64
}

// Stats returns a snapshot.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	b := &j.pending.budget
	waiting, used, limit := b.entries, b.used, b.limit
	j.mu.Unlock()
	return Stats{
		Commits: j.stats.commits.Load(), Failures: j.stats.failures.Load(), Messages: j.stats.messages.Load(),
		Deliveries: j.stats.deliveries.Load(), Duplicates: j.stats.duplicates.Load(), Audited: j.stats.audited.Load(),
		Waiting: waiting, Used: used, Budget: limit,
	}
}
