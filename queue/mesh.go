package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Mesh is one mesh's part of the queue: it accepts the mesh's messages. It is there
// from Load until Forget.
type Mesh struct {
	queue *Queue
	id    wire.ID
	seq   atomic.Int64  // of the newest delivery
	ids   wire.IDSource // of messages

	open    openEntries
	senders histories
	usage   usage
}

// meshes are those that are loaded.
type meshes struct {
	mu   sync.RWMutex
	byID map[wire.ID]*Mesh
}

// Load returns a mesh that goes on where the store ends: message ids and the order of
// deliveries never go back, even if the clock has. A mesh that is loaded already goes
// on after what the store has now.
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
	}
	m.goOnAfter(mark)
	return m, nil
}

// Forget drops a mesh from memory and reports whether it did; one with messages whose
// fate is not known yet stays. Nothing may be accepted by a mesh that was dropped.
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

// Prepare must be called, without locks, before the first Accept of a member
// with a client id; it reads the member's earlier client ids once. It returns
// ErrUnavailable when the store can't be read.
func (m *Mesh) Prepare(ctx context.Context, member wire.ID) error {
	_, err := m.senders.load(ctx, m, member)
	return err
}

// Accept takes a message for its recipients, which must not repeat a mailbox. It
// sets ID, MeshID and CreatedAt. done is called exactly once, from any goroutine, maybe
// before Accept returns: with no error when the message is safe, with the same id
// as before when the member has sent the same ClientID already, with
// ErrUnavailable or ErrMeshFull when the message was not accepted and may be sent
// again. Whether the journal has room is for the caller to see to.
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
	alone := e.unacked == 0
	m.queue.offerAll(e)
	if alone {
		e.alone()
	}
	m.queue.journal.Accept(e)
}

// entry makes the entry of a message. Those who can't open it are its last
// recipients, and have no slot.
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

// End says that the recipient of one of the mesh's mailboxes is gone for good: what waits
// there is given up.
func (m *Mesh) End(addr Mailbox) {
	m.queue.journal.Close(Closing{addr, time.Now(), m.seq.Load()})
}
