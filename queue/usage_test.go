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

// A message with this body takes a tenth of what may wait in a mesh.
var tenth = strings.Repeat("x", meshBytes/10-1344)

// A full mesh refuses, keeps what it has accepted, and takes more once somebody has
// acknowledged.
func TestFullMesh(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		fill := func(name string) (accepted int) {
			for refused := 0; refused < 2; {
				r := q.sendBody(fmt.Sprint(name, accepted), wire.Next, tenth, box)
				pause(2 * time.Second) // the store counts again meanwhile
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
			t.Fatalf("%d were accepted, want 10", n)
		}
		if r := q.sendBody("a0", wire.Next, tenth, box); r.err() != nil {
			t.Errorf("what was accepted before is refused when it comes again: %v", r.err())
		}
		if r := q.send("to nobody", wire.Next); r.err() != nil {
			t.Errorf("to nobody, for whom nothing waits: %v", r.err())
		}
		in := &inbox{}
		q.Attach(box, in, false)
		commit()
		for i := range 4 {
			q.Acknowledge(box, in, in.id(t, i), "")
		}
		pause(2 * time.Second)
		if n := fill("b"); n != 4 {
			t.Errorf("%d were accepted in the place of 4", n)
		}
	})
}

// Small messages to many count by the rows that they need, on their way into the store
// and there.
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
			t.Errorf("%d messages to 1,000 were accepted within 1 MiB", n)
		}
		if n := fill("b"); n != 0 {
			t.Errorf("%d more were accepted after the store has counted", n)
		}
	})
}

// What is under way to the store counts while the store counts.
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
			t.Errorf("%d were accepted, and %d are stored", accepted, q.store.pendingIn(box))
		}
	})
}

// Traffic that is acknowledged never fills a mesh, and a store that can't count
// is not asked by every message.
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
			t.Errorf("the store was asked %d times within 100 ms", n)
		}
	})
}
