package simulation

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// TestSendsWaitFiveSeconds checks that sends wait for a storage that stands still, whether it says
// so or not, and that the broker refuses them after five seconds. The broker has not accepted them,
// and accepts what is sent then.
func TestSendsWaitFiveSeconds(t *testing.T) {
	t.Parallel()
	for _, bad := range []weather{frozen, failing} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(1)
			w.start()
			p := w.firstSession(wire.ID{1})
			others := w.inMesh(wire.ID{1})
			to := others[slices.IndexFunc(others, func(o *peer) bool { return o != p && !o.daemon() })]
			surge := func(n int) {
				w.mu.Lock()
				defer w.mu.Unlock()
				for range n {
					m := p.intendLocked(step{}, 2_000)
					m.target, m.aim = to, atSession
					m.tryLocked(p.current())
				}
			}
			w.mu.Lock()
			for _, other := range w.cast {
				other.mood = lazy // nothing is safe before it is stored
				other.connect(nil)
			}
			w.mu.Unlock()
			w.pause(time.Second)
			surge(1)
			w.pause(time.Second)
			w.server.turn(bad)
			surge(100)
			w.pause(4 * time.Second)
			if s := w.broker.Stats(); s.Parked < 20 || s.Refused[wire.AckQueueFull]+s.Refused[wire.AckTryAgain] > 0 {
				t.Errorf("%s for 4 s: %d sends wait, refused: %v", bad, s.Parked, s.Refused)
			}
			w.pause(7 * time.Second) // a commit without an answer takes five seconds to fail
			s := w.broker.Stats()
			if s.Parked > 0 || s.Refused[wire.AckQueueFull] < 20 || s.Refused[wire.AckQueueFull]+s.Refused[wire.AckTryAgain] != 100 {
				t.Errorf("%s for 11 s: %d sends wait, refused: %v", bad, s.Parked, s.Refused)
			}
			w.server.turn(fair)
			w.pause(time.Second)
			surge(100)
			w.settle()
			if len(w.broken) > 0 {
				t.Error(w.broken)
			}
			if again := w.broker.Stats(); again.Refused[wire.AckQueueFull] != s.Refused[wire.AckQueueFull] {
				t.Errorf("refused: got %v, want %v as before", again.Refused, s.Refused)
			}
			w.finish()
		})
	}
}
