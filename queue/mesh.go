package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Mesh is one mesh's part of the queue: it accepts the mesh's messages and numbers its
// deliveries. It is in memory from Load until Forget.
type Mesh struct {
	queue *Queue
	id    wire.ID
	seq   atomic.Int64  // of the newest delivery
	ids   wire.IDSource // of messages

	open    openEntries
	senders histories
	usage   usage
}

// meshes holds the meshes that are loaded.
type meshes struct {
	mu   sync.RWMutex
	byID map[wire.ID]*Mesh
}

// Load reads where a mesh's sequences go on, and returns the mesh. Message ids and delivery
// numbers never go back, even if the clock does. If the mesh is loaded already, it goes on
// after whatever the store has now.
func (q *Queue) Load(ctx context.Context, id wire.ID) (*Mesh, error) {
	mark, err := q.store.Mark(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load the queue of mesh %s: %w", id, err)
	}
	q.meshes.mu.Lock()
	defer q.meshes.mu.Unlock()
	m := q.meshes.byID[id]
	if m == nil {
		m = &Mesh{queue: q, id: id}
		m.open.byID = make(map[wire.ID]*Entry)
		m.senders.byMember = make(map[wire.ID]*history)
		q.meshes.byID[id] = m
		mark.Seq += q.settings().Gap
	}
	m.goOnAfter(mark)
	return m, nil
}

// Forget drops a mesh from memory and reports whether it did. A mesh stays while the fate
// of one of its messages is unknown. A mesh that was dropped must not accept anything.
func (q *Queue) Forget(id wire.ID) bool {
	q.meshes.mu.Lock()
	defer q.meshes.mu.Unlock()
	m := q.meshes.byID[id]
	if m != nil && m.open.len() > 0 {
		return false
	}
	delete(q.meshes.byID, id)
	return true
}

// each calls do with each mesh that is loaded, under the lock.
func (ms *meshes) each(do func(*Mesh)) {
	ms.mu.RLock()
	defer ms.mu.RUnlock()
	for _, m := range ms.byID {
		do(m)
	}
}

func (m *Mesh) goOnAfter(mark Mark) {
	for seq := m.seq.Load(); seq < mark.Seq; seq = m.seq.Load() {
		if m.seq.CompareAndSwap(seq, mark.Seq) {
			break
		}
	}
	if !mark.Message.IsZero() {
		m.ids.New(mark.Message.Time().Add(time.Millisecond))
	}
}

// Prepare reads a member's earlier client ids, once. It must be called, with no lock held,
// before the member's first Accept with a client id. It returns ErrUnavailable if the
// store can't be read.
func (m *Mesh) Prepare(ctx context.Context, member wire.ID) error {
	_, err := m.senders.load(ctx, m, member)
	return err
}

// Accept accepts a message for its recipients, whose mailboxes must be distinct. It sets
// the message's ID, MeshID and CreatedAt. The caller must have reserved room in the
// journal.
//
// Accept calls done exactly once, from any goroutine, possibly before it returns: without
// an error when the message is safe; with the earlier message's id if the member has used
// the ClientID before; with ErrUnavailable or ErrMeshFull if the message was not accepted
// and may be sent again.
func (m *Mesh) Accept(message Message, to []To, done func(Result)) {
	now := time.Now()
	message.ID, message.MeshID, message.CreatedAt = m.ids.New(now), m.id, now.UTC().Truncate(time.Millisecond)
	e := m.entry(&message, to, done)
	m.open.add(e)
	if e.unacked > 0 { // else nothing waits
		if err := m.take(&e.accepted); err != nil {
			m.open.remove(e)
			if !m.Repeated(message.SenderMember, message.ClientID, done) {
				done(Result{Err: err})
			}
			return
		}
	}
	if message.ClientID != "" {
		h := m.senders.get(message.SenderMember)
		if repeated := h.begin(e, done); repeated {
			m.open.remove(e)
			m.queue.stats.repeated.Add(1)
			return
		}
		e.history = h
	}
	m.queue.stats.accepted.Add(1)
	m.queue.traces.begin(&e.accepted)
	alone := e.unacked == 0
	m.queue.offerAll(e)
	if alone {
		e.alone()
	}
	m.queue.journal.Accept(e)
}

// entry makes the entry of a message. Recipients that can't open it come last and have no
// slot.
func (m *Mesh) entry(message *Message, to []To, done func(Result)) *Entry {
	e := &Entry{mesh: m, done: []func(Result){done}}
	e.accepted = Accepted{Message: *message, Recipients: make([]Recipient, 0, len(to))}
	for _, unopened := range [...]bool{false, true} {
		for i := range to {
			t := &to[i]
			if t.Unopened != unopened {
				continue
			}
			r := Recipient{Seq: m.seq.Add(1), Mailbox: t.Mailbox, Key: t.Key, Name: t.Name, SameMember: t.SameMember}
			if unopened {
				r.Mailbox.Name = unopenedPrefix + r.Mailbox.Name
				r.State, r.SettledAt = Gone, message.CreatedAt
			}
			e.accepted.Recipients = append(e.accepted.Recipients, r)
		}
		if !unopened {
			e.unacked = len(e.accepted.Recipients)
			e.slots = make([]slot, e.unacked)
		}
	}
	return e
}

// End gives up what waits in one of the mesh's mailboxes, because its recipient is gone for
// good.
func (m *Mesh) End(addr Mailbox) {
	m.queue.journal.Close(Closing{addr, time.Now(), m.seq.Load()})
}
