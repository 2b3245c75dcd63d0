package broker

import (
	"sync"
	"sync/atomic"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
)

// counters count since the broker was made.
type counters struct {
	joins, panics atomic.Int64
	mu            sync.Mutex
	refused       map[string]int64 // by error code or the word of an ack's error: a closed set
}

func (s *counters) refuse(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = make(map[string]int64)
	}
	s.refused[reason]++
}

// Stats are the broker's counters and sizes.
type Stats struct {
	Connections int              // open sockets
	Meshes      int              // in memory
	Presences   int              // online or leased
	Joins       int64            // hellos that became a presence, or one again
	Backlog     int              // bytes that wait to be written to the slowest reader
	Parked      int              // sends that wait for room before the storage
	Panics      int64            // connections that ended in one
	Refused     map[string]int64 // frames and hellos, by reason
	Queue       queue.Stats
	Journal     journal.Stats
}

// Stats returns a snapshot.
func (b *Broker) Stats() Stats {
	s := Stats{Joins: b.stats.joins.Load(), Panics: b.stats.panics.Load(), Refused: make(map[string]int64)}
	b.stats.mu.Lock()
	for reason, n := range b.stats.refused {
		s.Refused[reason] = n
	}
	b.stats.mu.Unlock()
	for _, r := range b.allRooms() {
		r.mu.RLock()
		s.Presences += r.Len()
		r.mu.RUnlock()
		s.Meshes++
	}
	b.mu.Lock()
	s.Connections = len(b.conns)
	for c := range b.conns {
		s.Backlog = max(s.Backlog, c.out.size())
		s.Parked += c.park.parked()
	}
	b.mu.Unlock()
	s.Queue, s.Journal = b.queue.Stats(), b.journal.Stats()
	return s
}
