package queue_test

import (
	"context"
	"errors"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

var errAway = errors.New("storage is away")

// memStore is a store in memory for the queue and the journal. A test can make it slow or
// make it fail. It outlives the queues of a test, as a database outlives brokers.
type memStore struct {
	mu       sync.Mutex
	messages []*queue.Accepted
	bySender map[string]wire.ID // mesh, member and client id → message
	boxes    map[queue.Mailbox][]*record
	bySeq    map[delivery]*record
	chains   map[wire.ID][]audit.Entry

	counted int // calls of Burden

	latency func() time.Duration
	fault   func() fault
}

type delivery struct {
	mesh wire.ID
	seq  int64
}

type record struct {
	*queue.Recipient
	message *queue.Accepted
}

type fault int

const (
	none        fault = iota
	fails             // nothing is stored
	storedButNo       // stored, but the caller is told that it failed
)

func quick() time.Duration { return time.Millisecond }

func slow() time.Duration { return time.Second }

func always(f fault) func() fault { return func() fault { return f } }

func newMemStore() *memStore {
	return &memStore{
		bySender: make(map[string]wire.ID), boxes: make(map[queue.Mailbox][]*record),
		bySeq: make(map[delivery]*record), chains: make(map[wire.ID][]audit.Entry),
		latency: quick, fault: always(none),
	}
}

// behave sets how long a call takes and how it ends.
func (s *memStore) behave(latency func() time.Duration, fault func() fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency, s.fault = latency, fault
}

func (s *memStore) wait() {
	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	time.Sleep(latency())
}

// Ping implements journal.Store. It always succeeds: a commit decides whether an outage
// is over.
func (s *memStore) Ping(context.Context) error { return nil }

func (s *memStore) Commit(_ context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fault()
	if f == fails {
		return nil, errAway
	}
	for _, e := range b.Audit {
		if int64(len(s.chains[e.MeshID])) != e.Seq-1 {
			return nil, journal.ErrForked
		}
		s.chains[e.MeshID] = append(s.chains[e.MeshID], e)
	}
	var duplicates []journal.Duplicate
	for i, m := range b.Messages {
		if original, ok := s.known(m); ok {
			duplicates = append(duplicates, journal.Duplicate{Index: i, Original: original})
			continue
		}
		s.insert(m)
	}
	for _, settled := range b.Settled {
		if r := s.bySeq[delivery{settled.Mesh, settled.Seq}]; r != nil && r.State == queue.Pending {
			r.State, r.SettledAt = settled.State, settled.At
		}
	}
	for _, closed := range b.Closed {
		for _, r := range s.boxes[closed.Mailbox] {
			if r.State == queue.Pending && r.Seq <= closed.Upto {
				r.State, r.SettledAt = queue.Gone, closed.At
			}
		}
	}
	if f == storedButNo {
		return nil, errAway
	}
	return duplicates, nil
}

func (s *memStore) Burden(_ context.Context, mesh wire.ID) (b queue.Burden, err error) {
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted++
	if s.fault() == fails {
		return b, errAway
	}
	for _, m := range s.messages {
		if m.MeshID == mesh {
			count(&b, m)
		}
	}
	return b, nil
}

// count adds a message to b if a delivery of it is pending.
func count(b *queue.Burden, m *queue.Accepted) {
	pending := int64(0)
	for _, r := range m.Recipients {
		if r.State == queue.Pending {
			pending++
		}
	}
	if pending > 0 {
		b.Messages++
		b.Deliveries += pending
		b.Bytes += int64(len(m.Nonce) + len(m.Ciphertext))
	}
}

func (s *memStore) counts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counted
}

func (s *memStore) known(m *queue.Accepted) (wire.ID, bool) {
	for _, other := range s.messages {
		if other.ID == m.ID {
			return m.ID, true
		}
	}
	original, ok := s.bySender[m.MeshID.String()+m.SenderMember.String()+m.ClientID]
	return original, ok && m.ClientID != ""
}

func (s *memStore) insert(m *queue.Accepted) {
	kept := *m
	kept.Recipients = append([]queue.Recipient(nil), m.Recipients...)
	s.messages = append(s.messages, &kept)
	s.bySender[m.MeshID.String()+m.SenderMember.String()+m.ClientID] = m.ID
	for i := range kept.Recipients {
		r := &record{&kept.Recipients[i], &kept}
		s.bySeq[delivery{m.MeshID, r.Seq}] = r
		s.boxes[r.Mailbox] = append(s.boxes[r.Mailbox], r)
	}
}

func (s *memStore) Backlog(_ context.Context, box queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	s.wait()
	defer s.wait() // the page can be out of date when the caller gets it
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault() != none {
		return nil, errAway
	}
	var page []queue.Waiting
	for _, r := range s.boxes[box] {
		if r.State == queue.Pending && r.Seq > after && (!urgentOnly || r.message.Priority == wire.Now) {
			page = append(page, queue.Waiting{Seq: r.Seq, SameMember: r.SameMember, Message: r.message.Message})
		}
	}
	sort.Slice(page, func(i, j int) bool { return page[i].Seq < page[j].Seq })
	return page[:min(limit, len(page))], nil
}

func (s *memStore) Find(_ context.Context, mesh wire.ID, prefix string, limit int) ([]queue.Accepted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []queue.Accepted
	for _, m := range s.messages {
		if m.MeshID == mesh && strings.HasPrefix(m.ID.String(), prefix) && len(found) < limit {
			c := *m
			c.Recipients = append([]queue.Recipient(nil), m.Recipients...)
			found = append(found, c)
		}
	}
	return found, nil
}

func (s *memStore) Sent(_ context.Context, mesh, member wire.ID, limit int) ([]queue.Sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault() != none {
		return nil, errAway
	}
	var list []queue.Sent
	for i := len(s.messages) - 1; i >= 0 && len(list) < limit; i-- {
		if m := s.messages[i]; m.MeshID == mesh && m.SenderMember == member && m.ClientID != "" {
			list = append(list, queue.Sent{ClientID: m.ClientID, MessageID: m.ID})
		}
	}
	return list, nil
}

func (s *memStore) Mark(_ context.Context, mesh wire.ID) (queue.Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mark queue.Mark
	for _, m := range s.messages {
		if m.MeshID != mesh {
			continue
		}
		mark.Message = m.ID
		for _, r := range m.Recipients {
			mark.Seq = max(mark.Seq, r.Seq)
		}
	}
	return mark, nil
}

// pendingIn counts a mailbox's pending deliveries.
func (s *memStore) pendingIn(box queue.Mailbox) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.boxes[box] {
		if r.State == queue.Pending {
			n++
		}
	}
	return n
}

func (s *memStore) Sweep(context.Context, time.Time, time.Time, time.Time, int) (int, error) {
	return 0, nil
}

func (s *memStore) AuditHead(_ context.Context, mesh wire.ID) (audit.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chain := s.chains[mesh]
	if len(chain) == 0 {
		return audit.Head{}, nil
	}
	last := chain[len(chain)-1]
	return audit.Head{Seq: last.Seq, Hash: last.Hash}, nil
}

func (s *memStore) Hellos(context.Context, wire.ID, time.Time) ([]journal.Hello, error) {
	return nil, nil
}

func (s *memStore) ForgetHellos(context.Context, time.Time) error { return nil }
