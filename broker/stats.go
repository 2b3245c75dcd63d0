package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// Observer is told the durations and sizes that make histograms. Its methods are called for every
// message and every batch, from many goroutines, and must not block.
type Observer interface {
	// Acked says how long a sender has waited for the ack of a message that is safe.
	Acked(took time.Duration)
	// Held says how long a send has waited until there was room for it, or it was refused.
	Held(took time.Duration)
	// Committed says that a batch with so many messages was stored, and how long that took.
	Committed(messages int, took time.Duration)
}

type unobserved struct{}

func (unobserved) Acked(time.Duration)          {}
func (unobserved) Held(time.Duration)           {}
func (unobserved) Committed(int, time.Duration) {}

// counters count since the broker was made. All words in them are of closed sets.
type counters struct {
	observer      Observer
	joins, panics atomic.Int64
	refused       tally[string] // by error code or the word of an ack's error
	connections   tally[string] // by what became of the request for one
	ended         tally[string] // by reason, as in the log
	hellos        tally[string] // "accepted", "overtaken" by a newer one, or the code of the refusal
	messages      tally[MessageOutcome]
	storage       tally[StorageError]
}

// MessageOutcome is what a sender was told of a message.
type MessageOutcome struct {
	Outcome  string // "accepted", "repeated", or the word of the refusal
	Priority string // "invalid" if the message names no known priority
}

// StorageError is a kind of failure of the storage.
type StorageError struct {
	Operation string // open, commit, ping, read or sweep
	Reason    storage.Reason
}

// know makes counters start at 0 if an alert may wait for their first count: to Prometheus, a
// counter that appears with the value 1 has not increased.
func (s *counters) know() {
	for _, outcome := range append([]string{"accepted", "repeated"}, wire.AckWords...) {
		for _, priority := range []wire.Priority{wire.Now, wire.Next, wire.Low} {
			s.messages.of(MessageOutcome{outcome, string(priority)})
		}
	}
	s.messages.of(MessageOutcome{wire.AckInvalid, "invalid"})
	for _, operation := range []string{"open", "commit", "ping", "read", "sweep"} {
		for _, reason := range storage.Reasons {
			s.storage.of(StorageError{operation, reason})
		}
	}
	s.hellos.of("accepted")
	s.hellos.of("overtaken")
	for _, code := range wire.Codes {
		s.hellos.of(string(code))
		s.refused.of(string(code))
	}
	for _, word := range wire.AckWords {
		s.refused.of(word)
	}
	for _, outcome := range []string{"accepted", "relayed", "refused", "shutting_down", "failed"} {
		s.connections.of(outcome)
	}
	for _, reason := range append(endings[endReplaced:], "closed", "broken") {
		s.ended.of(reason)
	}
}

// arrivals returns how many connections have arrived with success, here or at another node.
func (s *counters) arrivals() int64 { return s.joins.Load() + s.ended.of(endings[endRelayed]).Load() }

// answered counts the ack of a message.
func (s *counters) answered(outcome string, priority wire.Priority) {
	p := string(priority)
	if !priority.Valid() {
		p = "invalid"
	}
	s.messages.add(MessageOutcome{outcome, p})
}

// storageFailed counts an error of the storage.
func (b *Broker) storageFailed(operation string, err error) {
	b.stats.storage.add(StorageError{operation, storage.ReasonOf(err)})
}

// queueFailed counts and logs that the queue can't read the storage.
func (b *Broker) queueFailed(err error) {
	b.storageFailed("read", err)
	b.log.Warn("reading waiting messages failed; the broker tries again", zap.Error(err))
}

// journalObserver passes on what the journal tells.
type journalObserver struct{ *Broker }

// Stored implements journal.Observer.
func (b journalObserver) Stored(messages int, took time.Duration) {
	b.stats.observer.Committed(messages, took)
}

// Failed implements journal.Observer.
func (b journalObserver) Failed(err error) { b.storageFailed("commit", err) }

// Lost implements journal.Observer.
func (b journalObserver) Lost(meshes []wire.ID) { b.lostMeshes(meshes) }

// tally counts by the words of a closed set.
type tally[K comparable] struct {
	mu sync.RWMutex
	by map[K]*atomic.Int64
}

func (t *tally[K]) add(k K) { t.of(k).Add(1) }

// of returns the count of k, which may be new.
func (t *tally[K]) of(k K) *atomic.Int64 {
	t.mu.RLock()
	n := t.by[k]
	t.mu.RUnlock()
	if n != nil {
		return n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[K]*atomic.Int64)
	}
	if n = t.by[k]; n == nil {
		n = new(atomic.Int64)
		t.by[k] = n
	}
	return n
}

// counts returns a copy.
func (t *tally[K]) counts() map[K]int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	counts := make(map[K]int64, len(t.by))
	for k, n := range t.by {
		counts[k] = n.Load()
	}
	return counts
}

// Stats are the broker's counters and sizes.
type Stats struct {
	Connections int                      // open sockets
	Meshes      int                      // in memory
	Owned       int                      // meshes that this node of a cluster serves
	Relayed     int64                    // sockets that it relays to other nodes
	Presences   int                      // online or leased
	Leased      int                      // of those, the ones without a connection
	Joins       int64                    // hellos that became a presence, or one again
	Backlog     int                      // bytes that wait to be written to the slowest reader
	Parked      int                      // sends that wait for room before the storage
	Panics      int64                    // connections that ended in one
	Refused     map[string]int64         // frames and hellos, by reason
	Requested   map[string]int64         // connections, by what became of the request
	Ended       map[string]int64         // connections, by reason
	Hellos      map[string]int64         // by outcome
	Messages    map[MessageOutcome]int64 // as their senders were told
	Storage     map[StorageError]int64   // failures
	Depth       queue.Depth              // of the queues, when the storage counted last
	Queue       queue.Stats
	Journal     journal.Stats
}

// Stats returns a snapshot.
func (b *Broker) Stats() Stats {
	s := Stats{
		Joins: b.stats.joins.Load(), Panics: b.stats.panics.Load(),
		Refused: b.stats.refused.counts(), Requested: b.stats.connections.counts(), Ended: b.stats.ended.counts(),
		Hellos: b.stats.hellos.counts(), Messages: b.stats.messages.counts(), Storage: b.stats.storage.counts(),
		Depth: b.depth.last(), Queue: b.queue.Stats(), Journal: b.journal.Stats(),
	}
	for _, r := range b.allRooms() {
		r.mu.RLock()
		s.Presences += r.presences.Len()
		for _, p := range r.presences.All() {
			if !p.Online {
				s.Leased++
			}
		}
		r.mu.RUnlock()
		s.Meshes++
	}
	if b.cluster != nil {
		s.Owned = len(b.cluster.Served())
	}
	if b.router != nil {
		s.Relayed = b.router.Relayed()
	}
	b.mu.Lock()
	s.Connections = len(b.conns)
	for c := range b.conns {
		s.Backlog = max(s.Backlog, c.out.size())
		s.Parked += c.park.parked()
	}
	b.mu.Unlock()
	return s
}
