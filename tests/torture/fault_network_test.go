package torture

import "time"

// slowNetwork delays all data by varying times and loses some of it.
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

// cutNetwork blocks one direction for a while. Then it either resets the connections, so that
// all peers reconnect, or delivers the blocked data, as after a short outage.
func cutNetwork(w *world) {
	w.serve()
	network := newProxy(w)
	w.populate()
	w.load()
	w.repeat(func(n int) {
		var cut weather
		cut.cut[n%2] = true
		network.set(cut)
		w.hold(2*time.Second, 12*time.Second) // the broker gives up after 10 s
		before := w.raw[0].visits.Load()
		again := (n+n/2)%2 == 1
		if again {
			network.reset()
		}
		network.set(weather{})
		if again {
			w.eventually("the peer has reconnected", func() bool { return w.raw[0].visits.Load() > before })
		}
	})
}

// resetNetwork resets all connections at once, repeatedly.
func resetNetwork(w *world) {
	w.serve()
	network := newProxy(w)
	w.populate()
	w.load()
	w.repeat(func(int) { network.reset() })
}
