package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// TestRepetitionOfWhatWasStoredLate checks a commit that takes effect after it seemed to
// fail, as when Postgres hangs and reads the commit after the broker stopped waiting. The
// store then knows the message when the sender repeats it, and the queue must push it
// wherever the drain is by then.
func TestRepetitionOfWhatWasStoredLate(t *testing.T) {
	t.Parallel()
	for _, urgentOnly := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store, j := newMemStore(), &handJournal{}
			q, m := open(t, store, j, queue.Settings{DeliveryLease: time.Hour})
			defer q.Stop()
			f, in := fixture{q, m, store}, inbox{}
			q.Attach(box, &in, false)
			pause(time.Second)
			large := strings.Repeat("A", 1<<20) // one of these fills the window
			f.sendBody("one", wire.Now, large, box)
			f.sendBody("two", wire.Next, large, box)
			late := *j.entries[1].Freeze()
			j.entries[1].Failed(errors.New("no answer"))
			j.store(t, store, 0)
			q.Acknowledge(box, &in, in.id(t, 0), "one")
			pause(time.Second) // the drain finds nothing
			f.sendBody("three", wire.Now, large, box)
			j.store(t, store, 2)
			if _, err := store.Commit(context.Background(), &journal.Batch{Messages: []*queue.Accepted{&late}}); err != nil {
				t.Fatal(err)
			}
			f.sendBody("two", wire.Next, large, box)
			j.entries[3].Freeze()
			q.Gate(box, &in, urgentOnly)
			j.entries[3].Stored(late.ID)
			pause(time.Second)
			expect(t, &in, "one", "three")
			q.Acknowledge(box, &in, in.id(t, 1), "three")
			pause(time.Second)
			if urgentOnly {
				expect(t, &in, "one", "three")
				q.Gate(box, &in, false)
				pause(time.Second)
			}
			expect(t, &in, "one", "three", "two")
			if got := in.id(t, 2); got != late.ID {
				t.Errorf("pushed as %s, acknowledged as %s", got, late.ID)
			}
		})
	}
}

// TestAcknowledgementOfWhatWasRefused checks a commit that succeeded although it seemed
// to fail. The sender was told that the message is refused; a recipient that got it and
// acknowledges it does not get it again.
func TestAcknowledgementOfWhatWasRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		first, second := &inbox{}, &inbox{}
		q.Attach(box, first, false)
		q.send("before", wire.Now, box)
		commit()
		q.Acknowledge(box, first, first.id(t, 0), "before")
		commit()
		q.store.behave(quick, always(storedButNo))
		r := q.send("m", wire.Now, box)
		pause(6 * time.Second) // by now the queue has refused the message
		q.store.behave(quick, always(none))
		pause(time.Second)
		if !errors.Is(r.err(), queue.ErrUnavailable) || q.store.pendingIn(box) != 1 {
			t.Fatalf("got %v with %d pending in the store, want ErrUnavailable with 1", r.err(), q.store.pendingIn(box))
		}
		if !q.Acknowledge(box, first, first.id(t, 1), "m") {
			t.Error("the acknowledgement did not count")
		}
		commit()
		q.Attach(box, second, false)
		commit()
		expect(t, second)
		if n := q.store.pendingIn(box); n != 0 {
			t.Errorf("%d deliveries are pending, want none", n)
		}
	})
}
