package queue_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// A page may be read when a batch is committed and the queue has not heard of it. Then
// what a sender sent first is in the store, before the place that another one's message
// has brought the drain to, and what it sent next is in the page.
func TestOrderOfWhatIsBeingCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, j := newMemStore(), &handJournal{}
		q, m := open(t, store, j, queue.Settings{DeliveryLease: time.Hour})
		defer q.Stop()
		f, in := fixture{q, m, store}, inbox{}
		q.Attach(box, &in, false)
		pause(time.Second)
		f.sendBody("large", wire.Next, strings.Repeat("A", 1<<20), box) // fills the window
		for _, id := range []string{"first", "another's", "second", "another's too"} {
			f.send(id, wire.Next, box)
		}
		j.store(t, store, 0)
		q.Acknowledge(box, &in, in.id(t, 0), "large")
		j.store(t, store, 2)
		pause(time.Second)
		batch := &journal.Batch{Messages: []*queue.Accepted{j.entries[1].Freeze(), j.entries[3].Freeze()}}
		if _, err := store.Commit(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
		j.store(t, store, 4)
		pause(time.Second)
		j.entries[1].Stored(wire.ID{})
		j.entries[3].Stored(wire.ID{})
		pause(time.Second)
		expect(t, &in, "large", "first", "another's", "second", "another's too")
	})
}
