package torture

import (
	"time"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// moveBrokersClock moves the broker's clock by an hour, forward or back, and then sets it
// right. Connected peers stay connected; the broker refuses reconnecting peers until the clock
// is right. Every other time the broker is killed while its clock is wrong, so that the next
// broker reads data from the future or from long ago.
func moveBrokersClock(w *world) {
	w.serve()
	w.populate()
	w.load()
	own := harness.NewClock(w.t, w.broker.PID())
	w.repeat(func(n int) {
		jump := time.Hour
		if n/2%2 == 1 {
			jump = -jump
		}
		w.awaitRaw() // connected peers keep up the load
		own.Set(w.t, jump)
		w.raw[0].refused.Clear()
		w.raw[0].hangUp()
		w.eventually("a reconnecting peer is refused", func() bool { _, ok := w.raw[0].refused.Load("timestamp_skew"); return ok })
		w.progress()
		if n%2 == 1 {
			w.killBroker()
			w.broker.Start()
			own = harness.NewClock(w.t, w.broker.PID())
			return
		}
		own.Set(w.t, -jump)
		w.progress()
		own.Set(w.t, 0)
	})
}

// movePeersClocks moves the clocks of a raw peer and of a daemon by an hour, forward or back,
// and restarts the broker meanwhile. The broker refuses both until their clocks are right;
// then they get everything.
func movePeersClocks(w *world) {
	w.serve()
	w.populate()
	m, a := w.addMachine(), w.raw[0]
	w.load()
	own := harness.NewClock(w.t, m.daemon.Process.Pid)
	w.repeat(func(n int) {
		jump := time.Hour
		if n%2 == 1 {
			jump = -jump
		}
		own.Set(w.t, jump)
		a.ahead.Store(int64(jump))
		a.refused.Clear()
		w.progress()
		w.killBroker()
		w.broker.Start()
		w.eventually("a peer with a wrong clock is refused", func() bool { _, ok := a.refused.Load("timestamp_skew"); return ok })
		w.progress()
		own.Set(w.t, 0)
		a.ahead.Store(0)
	})
}
