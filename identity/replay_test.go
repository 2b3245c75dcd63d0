package identity

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// numbered returns distinct signatures. They aren't valid: the guard doesn't verify
// them.
func numbered(n int) (sig wire.Signature) {
	binary.BigEndian.PutUint64(sig[:], uint64(n)+1)
	return sig
}

// ownerOf returns distinct owners.
func ownerOf(n int) (key wire.Key) {
	binary.BigEndian.PutUint64(key[:], uint64(n)+1)
	return key
}

func mustAccept(t *testing.T, g *ReplayGuard, n int, now time.Time) {
	t.Helper()
	if err := g.Accept(ownerOf(n), numbered(n), now); err != nil {
		t.Fatalf("signature %d: %v", n, err)
	}
}

// TestReplayGuardCoversTheWholeLifeOfAHello checks that the guard accepts a hello only once
// between the first and the last moment at which it is valid, whatever its timestamp.
func TestReplayGuardCoversTheWholeLifeOfAHello(t *testing.T) {
	t.Parallel()
	member := generate(t)
	ts, sig := SignHello(member, "mesh", "member", testNow)
	first, last := testNow.Add(-MaxSkew), testNow.Add(MaxSkew+999*time.Microsecond)

	g := NewReplayGuard(10)
	accept := func(now time.Time) error {
		if err := VerifyHello("mesh", "member", member.Public(), ts, sig, now); err != nil {
			return err
		}
		return g.Accept(member.Public(), sig, now)
	}
	if err := accept(first); err != nil {
		t.Fatalf("first: %v", err)
	}
	mustAccept(t, g, 0, last.Add(2*time.Second)) // another caller has a later time
	for _, now := range []time.Time{first, testNow, last} {
		if err := accept(now); !errors.Is(err, ErrReplayed) {
			t.Errorf("again at %v: %v", now.Sub(testNow), err)
		}
	}
	if err := accept(last.Add(time.Millisecond)); !errors.Is(err, ErrTimestampSkew) {
		t.Errorf("after its life: %v", err)
	}
}

func TestReplayGuardForgets(t *testing.T) {
	t.Parallel()
	g := NewReplayGuard(2)
	mustAccept(t, g, 1, testNow)
	mustAccept(t, g, 2, testNow.Add(time.Second))

	end := testNow.Add(replayWindow)
	if err := g.Accept(ownerOf(1), numbered(1), end); !errors.Is(err, ErrReplayed) {
		t.Errorf("in the window's last millisecond: %v", err)
	}
	if err := g.Accept(ownerOf(3), numbered(3), end); !errors.Is(err, ErrReplayGuardFull) {
		t.Errorf("full: %v", err)
	}
	mustAccept(t, g, 3, end.Add(time.Millisecond)) // forgets 1, not 2
	if err := g.Accept(ownerOf(2), numbered(2), end.Add(time.Millisecond)); !errors.Is(err, ErrReplayed) {
		t.Errorf("second signature: %v", err)
	}
	if err := g.Accept(ownerOf(4), numbered(4), end.Add(time.Millisecond)); !errors.Is(err, ErrReplayGuardFull) {
		t.Errorf("full again: %v", err)
	}
	mustAccept(t, g, 1, end.Add(time.Hour))
	if len(g.seen) != 1 || len(g.byTime) != 1 {
		t.Errorf("remembers %d, %d after an hour, want 1", len(g.seen), len(g.byTime))
	}
}

func TestReplayGuardFullNeverForgets(t *testing.T) {
	t.Parallel()
	const capacity = 100
	g := NewReplayGuard(capacity)
	for n := range capacity {
		mustAccept(t, g, n, testNow)
	}
	for n := capacity; n < 10*capacity; n++ {
		if err := g.Accept(ownerOf(n), numbered(n), testNow); !errors.Is(err, ErrReplayGuardFull) {
			t.Fatalf("signature %d: %v", n, err)
		}
	}
	for n := range capacity {
		if err := g.Accept(ownerOf(n), numbered(n), testNow); !errors.Is(err, ErrReplayed) {
			t.Fatalf("signature %d: %v", n, err)
		}
	}
}

// TestReplayGuardIsSharedOut checks that a member that says hello as often as it can uses
// up only its own share. When many members have used up theirs, the guard still accepts
// members that say hello rarely.
func TestReplayGuardIsSharedOut(t *testing.T) {
	t.Parallel()
	const share, reserve, half = DefaultReplayCapacity / replayShare, DefaultReplayCapacity / replayReserve, DefaultReplayCapacity / 2
	g := NewReplayGuard(0)
	next := 0
	fill := func(owner wire.Key, most int) (n int) {
		for ; n < most; n++ {
			if err := g.Accept(owner, numbered(next), testNow); errors.Is(err, ErrReplayGuardFull) {
				return n
			} else if err != nil {
				t.Fatal(err)
			}
			next++
		}
		return n
	}
	if n := fill(ownerOf(0), DefaultReplayCapacity); n != share {
		t.Errorf("one owner has %d of %d", n, DefaultReplayCapacity)
	}
	for i := 1; i*share < half; i++ {
		if n := fill(ownerOf(i), share); n != share {
			t.Fatalf("owner %d has only %d", i, n)
		}
	}
	if n := fill(ownerOf(1000), share); n != reserve {
		t.Errorf("a newcomer has %d when half is used, want %d", n, reserve)
	}
	if n := fill(wire.Key{}, 1); n != 0 {
		t.Error("strangers use more than half of the capacity")
	}
	for n := range next {
		if err := g.Accept(ownerOf(5000), numbered(n), testNow.Add(replayWindow)); !errors.Is(err, ErrReplayed) {
			t.Fatalf("signature %d: %v", n, err)
		}
	}
	if n := fill(ownerOf(0), 1); n != 0 {
		t.Error("an owner that used up its share got more")
	}
	later := testNow.Add(replayWindow + time.Millisecond)
	if err := g.Accept(ownerOf(0), numbered(next), later); err != nil || len(g.owned) != 1 {
		t.Errorf("after the window: %v, and %d owners are remembered", err, len(g.owned))
	}
}

// TestReplayGuardRecalls checks that the guard refuses all signatures that an earlier guard
// accepted, whatever their owner and number.
func TestReplayGuardRecalls(t *testing.T) {
	t.Parallel()
	g := NewReplayGuard(4)
	for n := range 10 {
		g.Recall(numbered(n), testNow)
		g.Recall(numbered(n), testNow)
	}
	for n := range 10 {
		if err := g.Accept(ownerOf(n), numbered(n), testNow); !errors.Is(err, ErrReplayed) {
			t.Errorf("signature %d: %v", n, err)
		}
	}
	mustAccept(t, g, 10, testNow.Add(replayWindow+time.Millisecond))
}

// TestReplayGuardSurvivesAClockSetBack checks that a clock that is wrong for a while does
// not fill the guard forever.
func TestReplayGuardSurvivesAClockSetBack(t *testing.T) {
	t.Parallel()
	g := NewReplayGuard(3)
	mustAccept(t, g, 1, testNow.Add(24*time.Hour))
	for n := 2; n < 100; n++ {
		mustAccept(t, g, n, testNow.Add(time.Duration(n)*replayWindow))
	}
	if err := g.Accept(ownerOf(1), numbered(1), testNow.Add(24*time.Hour)); !errors.Is(err, ErrReplayed) {
		t.Errorf("from before the clock was set back: %v", err)
	}
}

func TestReplayGuardAcceptsOnceAmongMany(t *testing.T) {
	t.Parallel()
	const signatures, callers = 50, 8
	g := NewReplayGuard(0)
	var accepted [signatures]atomic.Int32
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for n := range signatures {
				switch err := g.Accept(ownerOf(n), numbered(n), testNow); {
				case err == nil:
					accepted[n].Add(1)
				case !errors.Is(err, ErrReplayed):
					t.Errorf("signature %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	for n := range accepted {
		if got := accepted[n].Load(); got != 1 {
			t.Errorf("signature %d was accepted %d times", n, got)
		}
	}
}

func BenchmarkReplayGuard(b *testing.B) {
	g := NewReplayGuard(0)
	now, n := testNow, 0
	b.ReportAllocs()
	for b.Loop() {
		now, n = now.Add(time.Millisecond), n+1
		if err := g.Accept(ownerOf(n), numbered(n), now); err != nil {
			b.Fatal(err)
		}
	}
}
