package torture

import (
	"fmt"
	"strings"
)

// limitOfSessions fills the mesh with sessions. Its sessions continue, even after a broken
// connection. The broker refuses new sessions and says why.
func limitOfSessions(w *world) {
	const crowd = 5 // the peers that populate adds
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
		w.t.Error("the mesh accepted one session too many")
	}
}

// limitOfMesh fills the mesh's queue with messages for an absent peer. Then the broker refuses
// further messages until the peer fetches its messages.
func limitOfMesh(w *world) {
	const limit, size = 2 << 20, 40 << 10
	w.shouts = false // broadcasts would go to the flood's peers, which the ledger doesn't know
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

// limitOfQueue sends large messages while Postgres is frozen, more than the broker buffers.
// The sends wait for a few seconds. Then the broker refuses those without room with queue_full
// and those that it could not store with try_again, until Postgres is back.
func limitOfQueue(w *world) {
	w.ledger.mayForget()
	w.shouts = false // broadcasts would go to the flood's sender, which the ledger doesn't know
	w.broker.Env = append(w.broker.Env, fmt.Sprint("MAX_MESSAGE_BYTES=", 2<<20))
	w.serve()
	w.populate()
	flood := w.newRaw(w.stranger("flood"))
	w.actors.Go(flood.live)
	flood.post(flood.next(), false) // makes the broker load the ids that the flood sent before
	w.load()
	const letters = 16 // of 1.3 MiB in base64 each; the broker buffers 16 MiB
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
