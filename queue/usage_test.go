package queue_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// tenth is the body of a message that takes a tenth of the mesh's queue.
var tenth = strings.Repeat("x", meshBytes/10-1344)

// TestFullMesh checks that a full mesh refuses messages, keeps those it has accepted, and
// accepts more once a recipient has acknowledged some.
func TestFullMesh(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		fill := func(name string) (accepted int) {
			for refused := 0; refused < 2; {
				r := q.sendBody(fmt.Sprint(name, accepted), wire.Next, tenth, box)
				pause(2 * time.Second) // meanwhile the store counts again
				switch {
				case r.err() == nil:
					accepted, refused = accepted+1, 0
				case errors.Is(r.err(), queue.ErrMeshFull):
					refused++
				default:
					t.Fatal(r.err())
				}
			}
			return accepted
		}
		if n := fill("a"); n != 10 {
			t.Fatalf("%d messages were accepted, want 10", n)
		}
		if r := q.sendBody("a0", wire.Next, tenth, box); r.err() != nil {
			t.Errorf("an accepted message was refused when it was sent again: %v", r.err())
		}
		if r := q.send("to nobody", wire.Next); r.err() != nil {
			t.Errorf("a message without recipients was refused: %v", r.err())
		}
		in := &inbox{}
		q.Attach(box, in, false)
		commit()
		for i := range 4 {
			q.Acknowledge(box, in, in.id(t, i), "")
		}
		pause(2 * time.Second)
		if n := fill("b"); n != 4 {
			t.Errorf("%d messages were accepted after 4 acknowledgements, want 4", n)
		}
	})
}

// TestFullMeshOfRows checks that a small message to many recipients counts by the rows it
// needs, both before and after it is stored.
func TestFullMeshOfRows(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		boxes := make([]queue.Mailbox, 1000)
		for i := range boxes {
			boxes[i] = queue.Mailbox{Mesh: mesh, Name: fmt.Sprint("s/", i)}
		}
		fill := func(name string) (accepted int) {
			for i := range 20 {
				switch err := q.send(fmt.Sprint(name, i), wire.Next, boxes...).err(); {
				case errors.Is(err, queue.ErrMeshFull):
				case err == nil, errors.Is(err, errUndecided):
					accepted++
				default:
					t.Fatal(err)
				}
			}
			pause(2 * time.Second)
			return accepted
		}
		q.send("first", wire.Next, box) // the store has counted once
		pause(2 * time.Second)
		if n := fill("a"); n < 1 || n > 4 {
			t.Errorf("%d messages to 1,000 recipients were accepted within 1 MiB, want 1 to 4", n)
		}
		if n := fill("b"); n != 0 {
			t.Errorf("%d more messages were accepted after the store counted, want none", n)
		}
	})
}

// TestFullMeshWithSlowStore checks that messages that are being stored count while the
// store is counting.
func TestFullMeshWithSlowStore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		q.send("first", wire.Next, box)
		pause(2 * time.Second) // the store has counted
		q.store.behave(func() time.Duration { return 20 * time.Second }, always(none))
		accepted := 0
		var fates []*fate
		for i := range 50 {
			fates = append(fates, q.sendBody(fmt.Sprint(i), wire.Next, tenth, box))
			pause(time.Second)
		}
		pause(time.Minute)
		for _, r := range fates {
			if r.err() == nil {
				accepted++
			}
		}
		if accepted < 8 || accepted > 9 || q.store.pendingIn(box) != accepted+1 {
			t.Errorf("%d messages were accepted, want 8 or 9; %d are stored, want one more than accepted", accepted, q.store.pendingIn(box))
		}
	})
}

// TestUsageIsMeasuredAgain checks that acknowledged traffic never fills a mesh, and that
// not every message asks a store that cannot count.
func TestUsageIsMeasuredAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		in := &inbox{}
		q.Attach(box, in, false)
		commit()
		for i := range 100 {
			r := q.sendBody(fmt.Sprint(i), wire.Next, tenth, box)
			commit()
			q.Acknowledge(box, in, in.id(t, i), "")
			pause(time.Second)
			if r.err() != nil {
				t.Fatalf("message %d: %v", i, r.err())
			}
		}
		counted := q.store.counts()
		q.store.behave(quick, always(fails))
		for i := range 100 {
			q.sendBody(fmt.Sprint("refused", i), wire.Next, tenth, box)
			pause(time.Millisecond)
		}
		if n := q.store.counts() - counted; n > 1 {
			t.Errorf("the store was asked %d times within 100 ms, want at most once", n)
		}
	})
}
