package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// historySize is how many client ids of one member are remembered in memory. An
// older one is still recognized by the store, but only after its message was offered
// again.
const historySize = 4096

// historyIdle is how long a member's history stays in memory without a send.
const historyIdle = 15 * time.Minute

// historyRetry is the least time between two attempts to read a history. Without it, each
// message that a sender has in flight would wait for an unreachable store anew.
const historyRetry = time.Second

// histories holds what a mesh's recent senders have sent, by client id.
type histories struct {
	mu       sync.Mutex
	byMember map[wire.ID]*history
}

// history makes client ids idempotency keys: it knows which ones a member has used.
type history struct {
	loading chan struct{} // a lock, of capacity 1, whose wait can end with a context
	mu      sync.Mutex
	loaded  bool
	failed  time.Time // when reading the store last failed
	used    time.Time
	known   map[string]sent
	order   []string // ring of the keys of known, oldest at next when full
	next    int
}

type sent struct {
	id    wire.ID
	entry *Entry // nil once the message is safe
}

func (hs *histories) get(member wire.ID) *history {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.byMember[member]
	if h == nil {
		h = &history{loading: make(chan struct{}, 1), known: make(map[string]sent)}
		hs.byMember[member] = h
	}
	return h
}

// load returns the history of a member once it has been read.
func (hs *histories) load(ctx context.Context, m *Mesh, member wire.ID) (*history, error) {
	h := hs.get(member)
	if loaded, err := h.state(); loaded || err != nil {
		return h, err
	}
	select {
	case h.loading <- struct{}{}:
		defer func() { <-h.loading }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	// Another caller may have read it meanwhile.
	if loaded, err := h.state(); loaded || err != nil {
		return h, err
	}
	list, err := m.queue.store.Sent(ctx, m.id, member, historySize)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.failed = time.Now()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for i := len(list) - 1; i >= 0; i-- { // newest first
		if _, ok := h.known[list[i].ClientID]; !ok {
			h.rememberLocked(list[i].ClientID, sent{id: list[i].MessageID})
		}
	}
	h.loaded = true
	return h, nil
}

// state reports whether the history has been read. err says that reading it has failed
// within historyRetry.
func (h *history) state() (loaded bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used = time.Now()
	if !h.loaded && time.Since(h.failed) < historyRetry {
		err = fmt.Errorf("%w: the last attempt failed less than a second ago", ErrUnavailable)
	}
	return h.loaded, err
}

// forgetIdle drops the histories of members that have stopped sending.
func (hs *histories) forgetIdle(now time.Time) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for member, h := range hs.byMember {
		h.mu.Lock()
		idle := now.Sub(h.used) > historyIdle
		h.mu.Unlock()
		if idle {
			delete(hs.byMember, member)
		}
	}
}

// Prepared reports whether the member's client ids are in memory already.
func (m *Mesh) Prepared(member wire.ID) bool {
	loaded, _ := m.senders.get(member).state()
	return loaded
}

// Repeated calls done with the fate of the message that a member has sent under a client
// id before, now or once it is known. It returns false if there is no such message.
func (m *Mesh) Repeated(member wire.ID, clientID string, done func(Result)) bool {
	if clientID == "" {
		return false
	}
	h := m.senders.get(member)
	h.mu.Lock()
	earlier, ok := h.known[clientID]
	h.mu.Unlock()
	if ok {
		m.queue.stats.repeated.Add(1)
		earlier.tell(done)
	}
	return ok
}

// SentAs returns the id of the message that a member has sent under a client id. It knows
// the member's newest messages only.
func (m *Mesh) SentAs(ctx context.Context, member wire.ID, clientID string) (id wire.ID, ok bool, err error) {
	h, err := m.senders.load(ctx, m, member)
	if err != nil {
		return wire.ID{}, false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.known[clientID]
	return s.id, ok, nil
}

// SentEndingIn returns the ids that end in a text, of the newest messages that a member has
// sent under client ids.
func (m *Mesh) SentEndingIn(ctx context.Context, member wire.ID, end string) ([]wire.ID, error) {
	h, err := m.senders.load(ctx, m, member)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []wire.ID
	for _, s := range h.known {
		if strings.HasSuffix(s.id.String(), end) {
			found = append(found, s.id)
		}
	}
	return found, nil
}

// tell calls done with the message's fate, now or once it is known.
func (s sent) tell(done func(Result)) {
	if s.entry == nil {
		done(Result{MessageID: s.id, Repeated: true})
		return
	}
	s.entry.join(func(r Result) {
		r.Repeated = true
		done(r)
	})
}

// begin records a new message. If its client id was used before, begin returns true and
// done gets the earlier message's fate.
func (h *history) begin(e *Entry, done func(Result)) (repeated bool) {
	h.mu.Lock()
	h.used = time.Now()
	earlier, ok := h.known[e.accepted.ClientID]
	if !ok {
		h.rememberLocked(e.accepted.ClientID, sent{e.accepted.ID, e})
		h.mu.Unlock()
		return false
	}
	h.mu.Unlock()
	earlier.tell(done)
	return true
}

// finish records the id under which a message is safe. A zero id means that it was
// refused and may be sent again.
func (h *history) finish(clientID string, id wire.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.known[clientID]; !ok {
		return
	}
	if id.IsZero() {
		delete(h.known, clientID)
		return
	}
	h.known[clientID] = sent{id: id}
}

// rememberLocked adds a key and drops the oldest when there are too many.
func (h *history) rememberLocked(clientID string, s sent) {
	h.known[clientID] = s
	if len(h.order) < historySize {
		h.order = append(h.order, clientID)
		return
	}
	if old := h.order[h.next]; old != clientID {
		delete(h.known, old)
	}
	h.order[h.next] = clientID
	h.next = (h.next + 1) % historySize
}

// openEntries are a mesh's messages whose fate is not known yet.
type openEntries struct {
	mu   sync.Mutex
	byID map[wire.ID]*Entry
}

func (o *openEntries) add(e *Entry) {
	o.mu.Lock()
	o.byID[e.accepted.ID] = e
	o.mu.Unlock()
}

func (o *openEntries) remove(e *Entry) {
	o.mu.Lock()
	delete(o.byID, e.accepted.ID)
	o.mu.Unlock()
}

func (o *openEntries) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.byID)
}

// stats returns how many there are, and when the oldest was accepted; zero for none.
func (o *openEntries) stats() (n int, oldest time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.byID {
		if at := id.Time(); oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return len(o.byID), oldest
}
