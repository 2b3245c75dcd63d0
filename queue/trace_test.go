package queue_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// diary is a trace that keeps what it is told.
type diary struct {
	mu    sync.Mutex
	lines []string
	left  int // acknowledgements and the commit
}

func (d *diary) note(left int, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
	d.left += left
}

func (d *diary) Accepted(a *queue.Accepted) {
	d.note(len(a.Recipients)+1, "accepted %d", len(a.Recipients))
}
func (d *diary) Stored(_ wire.ID, err error) { d.note(-1, "stored %v", err) }
func (d *diary) Pushed(seq int64)            { d.note(0, "pushed %d", seq) }
func (d *diary) Acknowledged(seq int64)      { d.note(-1, "acknowledged %d", seq) }

func (d *diary) Over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left == 0
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, want) {
		t.Errorf("the trace was told %q, want %q", d.lines, want)
	}
}

// TestTrace checks that a message's trace is told everything, also of what the queue reads from
// the store, and that other messages don't concern it.
func TestTrace(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		away := queue.Mailbox{Mesh: mesh, Name: "s/away"}
		var here, later inbox
		q.Attach(box, &here, false)
		commit()
		var d diary
		q.Accept(queue.Message{SenderMember: member, Priority: wire.Next, TargetSpec: "@x", Trace: &d},
			[]queue.To{{Mailbox: box}, {Mailbox: away}}, new(fate).tell)
		q.send("other", wire.Next, box, away)
		commit()
		d.expect(t, "accepted 2", "pushed 1", "stored <nil>")

		q.Acknowledge(box, &here, here.id(t, 0), "")
		q.Acknowledge(box, &here, here.id(t, 1), "")
		q.Attach(away, &later, false)
		pause(40 * time.Second) // more than a lease
		q.ExpireLeases()
		commit()
		id := later.id(t, 0)
		q.Acknowledge(away, &later, id, "")
		q.Acknowledge(away, &later, id, "")
		d.expect(t, "accepted 2", "pushed 1", "stored <nil>", "acknowledged 1", "pushed 2", "pushed 2", "acknowledged 2")
	})
}

// TestTraceOfRefused checks that a trace is told that its message was given up.
func TestTraceOfRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var d diary
		q.store.behave(quick, always(fails))
		q.Accept(queue.Message{SenderMember: member, Priority: wire.Next, TargetSpec: "@x", Trace: &d},
			[]queue.To{{Mailbox: box}}, new(fate).tell)
		pause(time.Minute)
		if n := len(d.lines); n != 2 || !strings.HasPrefix(d.lines[1], "stored ") || d.lines[1] == "stored <nil>" {
			t.Errorf("the trace was told %q, want accepted, and stored with an error", d.lines)
		}
	})
}

// TestTracesAreBounded checks that the trace of a message that waits for its recipient ends when
// too many newer ones have begun.
func TestTracesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var oldest, newest diary
		trace := func(d *diary, to ...queue.To) {
			q.Accept(queue.Message{SenderMember: member, Priority: wire.Next, TargetSpec: "@x", Trace: d}, to, new(fate).tell)
		}
		trace(&oldest, queue.To{Mailbox: box})
		for range 1023 {
			trace(new(diary))
		}
		trace(&newest, queue.To{Mailbox: box})
		commit()
		oldest.expect(t, "accepted 1")
		newest.expect(t, "accepted 1", "stored <nil>")
		var in inbox
		q.Attach(box, &in, false)
		commit()
		q.Acknowledge(box, &in, in.id(t, 0), "")
		q.Acknowledge(box, &in, in.id(t, 1), "")
		oldest.expect(t, "accepted 1")
		newest.expect(t, "accepted 1", "stored <nil>", "pushed 2", "acknowledged 2")
	})
}
