package torture

import "time"

// bulk is the size of texts that fill buffers soon.
const bulk = 16 << 10

// neverReads has a peer stop reading its socket. What is for it waits in the storage, and
// comes when it reads again; nobody else notices.
func neverReads(w *world) { readBadly(w, never) }

// readsSlowly has a peer read a byte a second.
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
		w.hold(2*time.Second, 20*time.Second) // the broker gives it up after 10
		w.progress()
		bad.manners.reading.Store(freely)
	})
}

// neverAcknowledges has a peer take nothing for a while, in which the broker pushes it
// everything again and again. Then it comes back and takes it.
func neverAcknowledges(w *world) {
	w.serve()
	w.populate()
	bad := w.raw[0]
	w.load()
	w.repeat(func(n int) {
		w.deafen(bad, true)
		w.progress()
		w.hold(6*time.Second, 12*time.Second) // the lease of a push is 5
		if n%2 == 1 {
			w.killBroker()
			w.broker.Start()
		}
		w.progress()
		w.deafen(bad, false)
	})
}

// deafen has a peer take nothing, or everything. It changes with a new connection, as
// does a client that has failed to store a message.
func (w *world) deafen(a *rawPeer, deaf bool) {
	w.t.Helper()
	before := a.visits.Load()
	a.manners.deaf.Store(deaf)
	a.hangUp()
	w.eventually(a.name+" is back", func() bool { return a.visits.Load() > before })
}

// acknowledgesOthers has a peer acknowledge what it has sent itself and what others send
// to each other, while one of them takes nothing.
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
