package torture

import "time"

// bulk is a text size that fills buffers quickly.
const bulk = 16 << 10

// neverReads makes a peer stop reading its socket. Its messages wait in the storage and arrive
// when it reads again. Other peers notice nothing.
func neverReads(w *world) { readBadly(w, never) }

// readsSlowly makes a peer read one byte a second.
func readsSlowly(w *world) { readBadly(w, byByte) }

func readBadly(w *world, how int32) {
	w.size = bulk
	w.serve()
	w.populate()
	bad := w.raw[0]
	w.load()
	w.repeat(func(int) {
		bad.manners.reading.Store(how)
		w.progress()
		w.hold(2*time.Second, 20*time.Second) // the broker gives up after 10 s
		w.progress()
		bad.manners.reading.Store(freely)
	})
}

// neverAcknowledges makes a peer acknowledge nothing for a while. Meanwhile the broker
// redelivers everything repeatedly. Then the peer reconnects and takes its messages.
func neverAcknowledges(w *world) {
	w.serve()
	w.populate()
	bad := w.raw[0]
	w.load()
	w.repeat(func(n int) {
		w.deafen(bad, true)
		w.progress()
		w.hold(6*time.Second, 12*time.Second) // the delivery lease is 5 s
		if n%2 == 1 {
			w.killBroker()
			w.broker.Start()
		}
		w.progress()
		w.deafen(bad, false)
	})
}

// deafen makes a peer take nothing or everything, from its next connection on, like a client
// that reconnects after it failed to store a message.
func (w *world) deafen(a *rawPeer, deaf bool) {
	w.t.Helper()
	before := a.visits.Load()
	a.manners.deaf.Store(deaf)
	a.hangUp()
	w.eventually(a.name+" is back", func() bool { return a.visits.Load() > before })
}

// acknowledgesOthers makes a peer acknowledge its own messages and messages between other
// peers, while one of these peers takes nothing.
func acknowledgesOthers(w *world) {
	w.serve()
	w.populate()
	victim, bad := w.raw[0], w.raw[1]
	bad.manners.forges.Store(true)
	w.load()
	w.repeat(func(int) {
		w.deafen(victim, true)
		w.progress()
		w.deafen(victim, false)
	})
}
