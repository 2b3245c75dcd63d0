package queue

import (
	"sync"
	"sync/atomic"

	"github.com/claudemesh/claudemesh/wire"
)

// Trace is told how a message gets on. Its methods are called from any goroutine, some of them
// under a mailbox's lock, and must not block.
type Trace interface {
	// Accepted is called first, with the message and its recipients. It must not keep them.
	Accepted(*Accepted)
	// Stored is called when the message is committed, under its own id or under that of an
	// earlier one with the same client id. With an error, the message was given up.
	Stored(as wire.ID, err error)
	// Pushed is called each time a delivery is handed to its recipient's connection.
	Pushed(seq int64)
	// Acknowledged is called when a delivery's recipient has acknowledged it.
	Acknowledged(seq int64)
	// Over reports whether the trace needs to know nothing more.
	Over() bool
}

// traceLimit bounds the traces in memory: the newest.
const traceLimit = 1024

// traces holds the traces that are not over.
type traces struct {
	count atomic.Int64 // len(byID): while there is no trace, nothing takes the lock

	mu    sync.RWMutex
	byID  map[wire.ID]Trace // by message
	order []wire.ID         // a ring of the newest traceLimit messages
	next  int               // in order
}

func (t *traces) begin(a *Accepted) {
	if a.Trace == nil {
		return
	}
	a.Trace.Accepted(a)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID, t.order = make(map[wire.ID]Trace), make([]wire.ID, traceLimit)
	}
	delete(t.byID, t.order[t.next])
	t.order[t.next] = a.ID
	t.next = (t.next + 1) % traceLimit
	t.byID[a.ID] = a.Trace
	t.count.Store(int64(len(t.byID)))
}

func (t *traces) stored(id, as wire.ID, err error) {
	if trace := t.find(id); trace != nil {
		trace.Stored(as, err)
		t.endIfOver(id, trace)
	}
}

func (t *traces) pushed(id wire.ID, seq int64) {
	if trace := t.find(id); trace != nil {
		trace.Pushed(seq)
	}
}

func (t *traces) acknowledged(id wire.ID, seq int64) {
	if trace := t.find(id); trace != nil {
		trace.Acknowledged(seq)
		t.endIfOver(id, trace)
	}
}

// find returns the trace of a message, or nil.
func (t *traces) find(id wire.ID) Trace {
	if t.count.Load() == 0 {
		return nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *traces) endIfOver(id wire.ID, trace Trace) {
	if !trace.Over() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, id)
	t.count.Store(int64(len(t.byID)))
}
