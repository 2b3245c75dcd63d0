package torture

import "time"

// moveBrokersClock has the broker's clock jump by an hour, forth and back. Who is
// connected stays so; who comes back meanwhile is refused until the clock is right. Every
// other time the broker is killed while its clock is wrong, so that the next one finds
// what is from the future or from long ago.
func moveBrokersClock(w *world) {
	w.serve()
	w.populate()
	w.load()
	own := newClock(w.t, w.broker.PID())
	w.repeat(func(n int) {
		jump := time.Hour
		if n/2%2 == 1 {
			jump = -jump
		}
		w.awaitRaw() // who stays connected keeps the load up
		own.set(w.t, jump)
		w.raw[0].refused.Clear()
		w.raw[0].hangUp()
		w.eventually("who comes back is refused", func() bool { _, ok := w.raw[0].refused.Load("timestamp_skew"); return ok })
		w.progress()
		if n%2 == 1 {
			w.killBroker()
			w.broker.Start()
			own = newClock(w.t, w.broker.PID())
			return
		}
		own.set(w.t, -jump)
		w.progress()
		own.set(w.t, 0)
	})
}

// movePeersClocks has the clocks of a raw peer and of a daemon jump by an hour, forth and
// back, and the broker restart meanwhile: both are kept out until their clocks are right,
// and then get everything.
func movePeersClocks(w *world) {
	w.serve()
	w.populate()
	m, a := w.addMachine(), w.raw[0]
	w.load()
	own := newClock(w.t, m.daemon.Process.Pid)
	w.repeat(func(n int) {
		jump := time.Hour
		if n%2 == 1 {
			jump = -jump
		}
		own.set(w.t, jump)
		a.ahead.Store(int64(jump))
		a.refused.Clear()
		w.progress()
		w.killBroker()
		w.broker.Start()
		w.eventually("a peer with a wrong clock is refused", func() bool { _, ok := a.refused.Load("timestamp_skew"); return ok })
		w.progress()
		own.set(w.t, 0)
		a.ahead.Store(0)
	})
}
