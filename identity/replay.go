package identity

import (
	"container/heap"
	"errors"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

var (
	// ErrReplayed is returned for a signature that was accepted before.
	ErrReplayed = errors.New("signature was used before")

	// ErrReplayGuardFull is returned when an owner has used up its share, or when
	// remembering one more signature would mean to forget one that could still be
	// replayed.
	ErrReplayGuardFull = errors.New("too many signatures to remember")
)

// replayWindow is how long an accepted signature is remembered. A timestamp may
// be MaxSkew in the future when it is accepted, and is good until MaxSkew after
// it, so 2·MaxSkew after it was first accepted. The rest is slack for callers
// that read the clock, then verify, and only then come here: one that is late
// must not find the signature already forgotten by one that overtook it.
const replayWindow = 2*MaxSkew + 5*time.Second

// DefaultReplayCapacity lets a ReplayGuard take about 1,000 hellos a second
// without end, in at most some 40 MB.
const DefaultReplayCapacity = 1 << 17

// The capacity is shared out among the owners of signatures: one of them may fill a
// 32nd of it, and as soon as half of it is used, only those may have more who have
// less than a 4,096th.
const (
	replayShare   = 32
	replayReserve = 4096
)

// ReplayGuard remembers the signatures of accepted hellos for as long as they
// could be presented again. Its memory is bounded: when it is full of
// signatures that are still good it refuses new ones rather than forget old
// ones, and one owner can't use it up for the others. Nothing is remembered over a
// restart or shared between processes.
type ReplayGuard struct {
	capacity int // static

	mu     sync.Mutex
	seen   map[wire.Signature]struct{} // guarded by mu
	byTime acceptedHeap                // guarded by mu; the keys of seen
	owned  map[wire.Key]int            // guarded by mu; how many of them an owner has
}

// NewReplayGuard returns a guard that remembers up to capacity signatures;
// below 1 stands for DefaultReplayCapacity. Memory is taken as it is needed.
func NewReplayGuard(capacity int) *ReplayGuard {
	if capacity < 1 {
		capacity = DefaultReplayCapacity
	}
	return &ReplayGuard{capacity: capacity, seen: make(map[wire.Signature]struct{}), owned: make(map[wire.Key]int)}
}

// Accept remembers sig, which is owner's, or fails with ErrReplayed when it is
// remembered already and with ErrReplayGuardFull when there is no room for one more
// of the owner's. The zero owner stands for everybody who is not known: it has no
// share, but may use half of the capacity. Call it after the
// signature was verified, with the same now: then a stranger can neither fill
// the guard nor use up somebody else's signature. Of concurrent calls with one
// signature exactly one succeeds.
func (g *ReplayGuard) Accept(owner wire.Key, sig wire.Signature, now time.Time) error {
	// Whole milliseconds, as the skew is judged by.
	ms := now.UnixMilli()

	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetLocked(ms - replayWindow.Milliseconds())
	if _, known := g.seen[sig]; known {
		return ErrReplayed
	}
	if !g.hasRoomLocked(owner) {
		return ErrReplayGuardFull
	}
	g.rememberLocked(owner, sig, ms)
	return nil
}

// Recall remembers a signature that was accepted at a time by the guard before this
// one, whoever owns it.
func (g *ReplayGuard) Recall(sig wire.Signature, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.seen[sig]; !known {
		g.rememberLocked(wire.Key{}, sig, at.UnixMilli())
	}
}

func (g *ReplayGuard) hasRoomLocked(owner wire.Key) bool {
	n := g.owned[owner]
	switch {
	case len(g.seen) >= g.capacity:
		return false
	case !owner.IsZero() && n >= max(1, g.capacity/replayShare):
		return false
	}
	return len(g.seen) < g.capacity/2 || !owner.IsZero() && n < max(1, g.capacity/replayReserve)
}

func (g *ReplayGuard) rememberLocked(owner wire.Key, sig wire.Signature, ms int64) {
	g.seen[sig] = struct{}{}
	g.owned[owner]++
	heap.Push(&g.byTime, accepted{at: ms, owner: owner, sig: sig})
}

// forgetLocked drops what was accepted before the given moment, in Unix
// milliseconds.
func (g *ReplayGuard) forgetLocked(before int64) {
	if len(g.byTime) == 0 || g.byTime[0].at >= before {
		return
	}
	for len(g.byTime) > 0 && g.byTime[0].at < before {
		old := heap.Pop(&g.byTime).(accepted)
		delete(g.seen, old.sig)
		if g.owned[old.owner]--; g.owned[old.owner] == 0 {
			delete(g.owned, old.owner)
		}
	}
	if len(g.byTime) == 0 {
		// A map never shrinks; after a storm its memory should go back.
		g.byTime, g.seen, g.owned = nil, make(map[wire.Signature]struct{}), make(map[wire.Key]int)
	}
}

// accepted is a signature, whose it is, and the moment, in Unix milliseconds, it was
// accepted.
type accepted struct {
	at    int64
	owner wire.Key
	sig   wire.Signature
}

// acceptedHeap has the oldest on top. It is a heap and not a queue because the
// clock may be set back: entries from before then must not hold up the rest.
type acceptedHeap []accepted

func (h acceptedHeap) Len() int           { return len(h) }
func (h acceptedHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h acceptedHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *acceptedHeap) Push(x any)        { *h = append(*h, x.(accepted)) }

func (h *acceptedHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
