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

// TestOrderOfWhatIsBeingCommitted checks the order of delivery when the queue reads a page
// after a batch is committed but before the queue knows of it. Then the page holds a
// sender's second message, while its first is stored before the place that the drain has
// reached because of another sender's message.
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
