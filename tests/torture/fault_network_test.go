package torture

import "time"

// slowNetwork delays everything, by changing amounts, and loses a part of it.
func slowNetwork(w *world) {
	w.serve()
	network := newProxy(w)
	w.populate()
	w.load()
	w.repeat(func(n int) {
		network.set(weather{delay: time.Duration(n%3+1) * 30 * time.Millisecond, jitter: 40 * time.Millisecond, lossy: 0.05})
		w.progress()
		network.set(weather{})
	})
}

// cutNetwork lets nothing through in one direction for a while, which ends with a
// reset, after which all come back, or, as after a short failure of a line, with
// everything that was on its way.
func cutNetwork(w *world) {
	w.serve()
	network := newProxy(w)
	w.populate()
	w.load()
	w.repeat(func(n int) {
		var cut weather
		cut.cut[n%2] = true
		network.set(cut)
		w.hold(2*time.Second, 12*time.Second) // the broker gives up after 10
		before := w.raw[0].visits.Load()
		again := (n+n/2)%2 == 1
		if again {
			network.reset()
		}
		network.set(weather{})
		if again {
			w.eventually("who was cut off is back", func() bool { return w.raw[0].visits.Load() > before })
		}
	})
}

// resetNetwork breaks all connections at once, again and again.
func resetNetwork(w *world) {
	w.serve()
	network := newProxy(w)
	w.populate()
	w.load()
	w.repeat(func(int) { network.reset() })
}
