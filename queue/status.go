package queue

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Find returns up to limit messages of the mesh whose id begins with prefix, as
// they are now: an acknowledged delivery counts as delivered even before the store
// knows.
func (m *Mesh) Find(ctx context.Context, prefix string, limit int) ([]Accepted, error) {
	found := m.open.find(prefix)
	stored, err := m.queue.store.Find(ctx, m.id, prefix, limit)
	if err != nil && len(found) == 0 {
		return nil, err
	}
	for _, a := range stored {
		if !contains(found, a.ID) {
			found = append(found, a)
		}
	}
	found = found[:min(len(found), limit)]
	for i := range found {
		for j := range found[i].Recipients {
			m.queue.overlay(&found[i].Recipients[j])
		}
	}
	return found, nil
}

func contains(list []Accepted, id wire.ID) bool {
	for i := range list {
		if list[i].ID == id {
			return true
		}
	}
	return false
}

// overlay marks a recipient whose acknowledgement is on its way into the store.
func (q *Queue) overlay(r *Recipient) {
	b := q.find(r.Mailbox)
	if b == nil || r.State != Pending {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at, ok := b.settling.at[r.Seq]; ok {
		r.State, r.SettledAt = Delivered, at
	}
}

// Attached reports whether a mailbox's recipient is connected.
func (q *Queue) Attached(addr Mailbox) bool {
	b := q.find(addr)
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out != nil
}

func (o *openEntries) find(prefix string) []Accepted {
	o.mu.Lock()
	var entries []*Entry
	for id, e := range o.byID {
		if strings.HasPrefix(id.String(), prefix) {
			entries = append(entries, e)
		}
	}
	o.mu.Unlock()
	list := make([]Accepted, 0, len(entries))
	for _, e := range entries {
		list = append(list, e.snapshot())
	}
	return list
}

// counters count since the queue was made.
type counters struct {
	accepted, repeated, pushed, acknowledged, redelivered atomic.Int64
}

// Stats are the queue's counters and sizes.
type Stats struct {
	Accepted     int64     // messages
	Repeated     int64     // sends of a client id that was known
	Pushed       int64     // pushes, repeated ones included
	Acknowledged int64     // deliveries
	Redelivered  int64     // pushes taken back because their lease ran out
	Mailboxes    int       // in memory
	Open         int       // messages whose fate is not known yet
	Oldest       time.Time // when the oldest of those was accepted; zero: there is none
}

// Stats returns a snapshot.
func (q *Queue) Stats() Stats {
	s := Stats{
		Accepted: q.stats.accepted.Load(), Repeated: q.stats.repeated.Load(), Pushed: q.stats.pushed.Load(),
		Acknowledged: q.stats.acknowledged.Load(), Redelivered: q.stats.redelivered.Load(),
	}
	for i := range q.shards {
		q.shards[i].mu.Lock()
		s.Mailboxes += len(q.shards[i].boxes)
		q.shards[i].mu.Unlock()
	}
	q.meshes.each(func(m *Mesh) {
		n, oldest := m.open.stats()
		s.Open += n
		if s.Oldest.IsZero() || !oldest.IsZero() && oldest.Before(s.Oldest) {
			s.Oldest = oldest
		}
	})
	return s
}
