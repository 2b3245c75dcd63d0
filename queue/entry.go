package queue

import (
	"sync"

	"github.com/claudemesh/claudemesh/wire"
)

// Entry is an accepted message on its way into the store.
type Entry struct {
	mesh  *Mesh
	slots []slot // one per recipient, same index

	mu       sync.Mutex
	accepted Accepted
	phase    phase
	unacked  int            // recipients that have not acknowledged
	done     []func(Result) // to be told when the message is safe or refused
	history  *history       // nil when the message has no client id
}

// slot ties a recipient to its mailbox. offered is guarded by the mailbox.
type slot struct {
	box     *mailbox
	offered bool // pushed to the attached outlet; if false, a drain must read it from the store
}

type phase uint8

const (
	queued     phase = iota // not yet in a batch: acknowledgements change what will be stored
	committing              // in a batch: acknowledgements must be settled afterwards
	stored                  // committed
	refused                 // given up; the sender was told to try again
)

// Result is what a sender is told.
type Result struct {
	MessageID wire.ID
	Err       error // nil: the message is safe
	Repeated  bool  // MessageID is of an earlier message with the same client id
}

// Cost is the message's share of the journal's budget, in bytes; see Burden.Size.
func (e *Entry) Cost() int64 { return e.accepted.size() }

// Sender returns the id of the member that sent the message. Member ids are unique
// across meshes.
func (e *Entry) Sender() wire.ID { return e.accepted.SenderMember }

// Mesh returns the id of the message's mesh.
func (e *Entry) Mesh() wire.ID { return e.accepted.MeshID }

// Freeze must be called by the journal when it takes the entry into a batch. The
// returned message does not change until Stored or Failed is called.
func (e *Entry) Freeze() *Accepted {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.phase = committing
	return &e.accepted
}

// Stored must be called by the journal when the entry was committed, or when the store
// had it already under the id original.
func (e *Entry) Stored(original wire.ID) {
	e.mu.Lock()
	e.phase = stored
	id := e.accepted.ID
	if !original.IsZero() {
		id = original
	}
	done := e.done
	e.done = nil
	e.mu.Unlock()

	for i := range e.slots {
		e.slots[i].box.stored(&e.slots[i], e.accepted.ID, e.accepted.Recipients[i].Seq, id == e.accepted.ID)
		if id != e.accepted.ID {
			e.slots[i].box.lookBack()
		}
	}
	e.finish(id, done, nil)
}

// Failed must be called by the journal when it gives up on the entry. It returns true if
// the entry must be stored nevertheless: every recipient has acknowledged it, and the
// sender was told that it is safe.
func (e *Entry) Failed(err error) (again bool) {
	e.mu.Lock()
	if e.unacked == 0 {
		e.mu.Unlock()
		return true
	}
	e.refuseLocked(err)
	return false
}

// Abandoned must be called by the journal when it can't store the entry any more because the
// broker has lost the mesh. If every recipient has acknowledged the message, the sender was told
// that it is safe.
func (e *Entry) Abandoned(err error) {
	e.mu.Lock()
	e.refuseLocked(err)
}

// refuseLocked ends Failed and Abandoned. It releases the lock.
func (e *Entry) refuseLocked(err error) {
	e.phase = refused
	done := e.done
	e.done = nil
	e.mu.Unlock()

	for i := range e.slots {
		// The commit may have succeeded all the same, so acknowledgements still count.
		e.slots[i].box.stored(&e.slots[i], e.accepted.ID, e.accepted.Recipients[i].Seq, true)
	}
	e.finish(wire.ID{}, done, err)
}

// finish tells everybody who waits for the message's fate, and forgets the entry.
func (e *Entry) finish(id wire.ID, done []func(Result), err error) {
	e.mesh.queue.traces.stored(e.accepted.ID, id, err)
	if e.history != nil {
		e.history.finish(e.accepted.ClientID, id)
	}
	e.mesh.open.remove(e)
	for _, f := range done {
		f(Result{MessageID: id, Err: err})
	}
}

// acknowledged records that recipient i has the message. It returns true when
// the acknowledgement must be settled in the store on its own.
func (e *Entry) acknowledged(i int, s Settlement) (settle bool) {
	e.mu.Lock()
	r := &e.accepted.Recipients[i]
	switch e.phase {
	case queued:
		r.State, r.SettledAt = s.State, s.At
	case refused:
		e.mu.Unlock()
		return true
	}
	settle = e.phase != queued
	e.unacked--
	var done []func(Result)
	if e.unacked == 0 {
		done, e.done = e.done, nil
	}
	id := e.accepted.ID
	e.mu.Unlock()
	for _, f := range done {
		f(Result{MessageID: id})
	}
	return settle
}

// join calls done with the entry's fate, now or once it is known. done belongs to a
// repeated send of the same message.
func (e *Entry) join(done func(Result)) {
	e.mu.Lock()
	result := Result{MessageID: e.accepted.ID}
	switch {
	case e.phase == refused:
		result = Result{Err: ErrUnavailable}
	case e.phase != stored && e.unacked > 0:
		e.done = append(e.done, done)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	done(result)
}

// alone reports an entry without recipients as safe: there is nobody who could miss it.
func (e *Entry) alone() {
	e.mu.Lock()
	done := e.done
	e.done = nil
	e.mu.Unlock()
	for _, f := range done {
		f(Result{MessageID: e.accepted.ID})
	}
}

// snapshot returns the message as it is now, without its body.
func (e *Entry) snapshot() Accepted {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.accepted
	a.Nonce, a.Ciphertext = "", ""
	a.Recipients = append([]Recipient(nil), a.Recipients...)
	return a
}
