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
	ErrReplayed = errors.New("signature was already used; sign again")

	// ErrReplayGuardFull is returned when an owner has used up its share, or when the
	// guard would have to forget a signature that could still be replayed.
	ErrReplayGuardFull = errors.New("too many signatures in the last two minutes")
)

// replayWindow is how long the guard remembers an accepted signature. A timestamp may
// be MaxSkew in the future when it is first accepted, and stays acceptable until
// MaxSkew after it: 2·MaxSkew in total. The slack is for callers that read the clock,
// then verify, and only then call Accept: a later call with a newer time must not
// make the guard forget the signature before a slow call checks it.
const replayWindow = 2*MaxSkew + 5*time.Second

// DefaultReplayCapacity lets a ReplayGuard accept about 1,000 hellos a second
// indefinitely, in at most about 40 MB.
const DefaultReplayCapacity = 1 << 17

// The owners of signatures share the capacity. One owner may use at most 1/32 of it.
// Once half of the capacity is used, the guard accepts more signatures only from
// owners that use less than 1/4096.
const (
	replayShare   = 32
	replayReserve = 4096
)

// ReplayGuard remembers the signatures of accepted hellos for as long as somebody
// could replay them. Its memory is bounded: when it is full, it refuses new signatures
// instead of forgetting old ones, and one owner can't use up the room of the others.
// It keeps nothing across a restart and shares nothing between processes.
type ReplayGuard struct {
	capacity int // static

	mu     sync.Mutex
	seen   map[wire.Signature]struct{} // guarded by mu
	byTime acceptedHeap                // guarded by mu; the keys of seen
	owned  map[wire.Key]int            // guarded by mu; the number of signatures per owner
}

// NewReplayGuard returns a guard that remembers up to capacity signatures; a capacity
// below 1 means DefaultReplayCapacity. The guard allocates memory as needed.
func NewReplayGuard(capacity int) *ReplayGuard {
	if capacity < 1 {
		capacity = DefaultReplayCapacity
	}
	return &ReplayGuard{capacity: capacity, seen: make(map[wire.Signature]struct{}), owned: make(map[wire.Key]int)}
}

// Accept remembers sig, a signature by owner. It returns ErrReplayed if it remembers
// sig already, and ErrReplayGuardFull if there is no room for another signature of the
// owner. The zero owner means all strangers together: it has no share of its own, but
// may use half of the capacity. Call Accept after verifying the signature, with the
// same now: then a stranger can neither fill the guard nor use up somebody else's
// signature. If calls with the same signature run concurrently, exactly one succeeds.
func (g *ReplayGuard) Accept(owner wire.Key, sig wire.Signature, now time.Time) error {
	// Use whole milliseconds, like the check of the skew.
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

// Recall remembers a signature that an earlier guard accepted at the given time. It
// doesn't count towards an owner's share.
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

// forgetLocked drops the signatures that were accepted before the given time, in Unix
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
		// A map never shrinks: replace it to free its memory after a burst.
		g.byTime, g.seen, g.owned = nil, make(map[wire.Signature]struct{}), make(map[wire.Key]int)
	}
}

// accepted is a signature, its owner, and the time, in Unix milliseconds, at which it
// was accepted.
type accepted struct {
	at    int64
	owner wire.Key
	sig   wire.Signature
}

// acceptedHeap has the oldest signature on top. It is a heap and not a queue because
// the clock may be set back: entries from before that must not block later ones.
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
