package torture

import (
	"fmt"
	"strings"
)

// limitOfSessions fills the mesh. Whoever is in it goes on, also over a broken connection;
// whoever comes is told why not.
func limitOfSessions(w *world) {
	const crowd = 5 // populate's
	w.broker.Env = append(w.broker.Env, fmt.Sprint("MAX_CONNECTIONS_PER_MESH=", crowd))
	w.serve()
	w.populate()
	late := w.newRaw(w.stranger("late"))
	w.actors.Go(late.live)
	w.load()
	w.repeat(func(n int) {
		late.refused.Clear()
		w.eventually("one too many is refused", func() bool { _, ok := late.refused.Load("capacity"); return ok })
		a := w.raw[n%len(w.raw)]
		before := a.visits.Load()
		a.hangUp()
		w.eventually(a.name+" is back", func() bool { return a.visits.Load() > before })
	})
	if late.visits.Load() > 0 {
		w.t.Error("there was room for one too many")
	}
}

// limitOfMesh has as much wait for somebody who is away as may wait in the mesh. Then
// whoever sends is told so, until it is fetched.
func limitOfMesh(w *world) {
	const limit, size = 2 << 20, 40 << 10
	w.shouts = false // they would come to the flood, of whom the ledger knows nothing
	w.broker.Env = append(w.broker.Env, fmt.Sprint("MAX_QUEUE_BYTES_PER_MESH=", limit))
	w.serve()
	w.populate()
	flood := w.newRaw(w.stranger("flood"))
	w.actors.Go(flood.live)
	w.load()
	w.repeatWithoutOne(func(n int) {
		flood.refused.Clear()
		absent := w.raw[n%len(w.raw)]
		for range limit / size {
			d := flood.nextTo(absent.party)
			d.size = size
			flood.post(d, false)
		}
		w.eventually("the broker refuses", func() bool {
			reason, full := flood.refused.Load("queue_full")
			if full && !strings.Contains(reason.(string), "max_queue_bytes_per_mesh") {
				w.t.Errorf("queue_full: %s", reason)
			}
			return full
		})
	})
}

// limitOfQueue has more wait for the storage than the broker keeps: large messages while
// Postgres stands still. They wait for some seconds; then what is too much is refused with
// queue_full, and what the storage did not take with try_again, until it is back.
func limitOfQueue(w *world) {
	w.ledger.mayForget()
	w.shouts = false // the flood would come to its sender, of whom the ledger knows nothing
	w.broker.Env = append(w.broker.Env, fmt.Sprint("MAX_MESSAGE_BYTES=", 2<<20))
	w.serve()
	w.populate()
	flood := w.newRaw(w.stranger("flood"))
	w.actors.Go(flood.live)
	flood.post(flood.next(), false) // the broker then knows what it has sent before, and need not ask
	w.load()
	const letters = 16 // of 1.3 MiB in base64 each; 16 MiB may wait
	w.repeat(func(int) {
		flood.refused.Clear()
		w.pg.Pause()
		for range letters {
			d := flood.next()
			d.size = 1 << 20
			flood.post(d, false)
		}
		w.eventually("the broker refuses", func() bool {
			reason, ok := flood.refused.Load("queue_full")
			_, down := flood.refused.Load("try_again")
			if ok && !strings.Contains(reason.(string), "storage") {
				w.t.Errorf("queue_full: %s", reason)
			}
			return ok || down
		})
		w.pg.Resume()
		w.awaitReadiness(true)
	})
}
