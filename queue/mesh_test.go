package queue_test

import (
	"testing"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// TestSequenceIsTheMeshs checks that each mesh numbers its own deliveries and continues
// its numbers when it is loaded again.
func TestSequenceIsTheMeshs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		other, err := q.Load(t.Context(), wire.ID{9})
		if err != nil {
			t.Fatal(err)
		}
		const many = 3
		for range many {
			q.send("", wire.Next, box)
		}
		told := &fate{}
		other.Accept(queue.Message{SenderMember: member, Priority: wire.Next}, []queue.To{{Mailbox: queue.Mailbox{Mesh: wire.ID{9}, Name: box.Name}}}, told.tell)
		commit()
		if told.err() != nil {
			t.Fatal(told.err())
		}
		first, last := q.store.boxes[queue.Mailbox{Mesh: wire.ID{9}, Name: box.Name}][0], q.store.boxes[box][many-1]
		if first.Seq != 1 || last.Seq != many {
			t.Errorf("the first delivery of one mesh has number %d, want 1; the last of the other has %d, want %d", first.Seq, last.Seq, many)
		}
		for _, again := range []string{"loaded twice", "forgotten in between"} {
			if again != "loaded twice" && !q.Forget(mesh) {
				t.Fatal("the mesh was not forgotten")
			}
			m, err := q.Load(t.Context(), mesh)
			if err != nil {
				t.Fatal(err)
			}
			newest := q.store.messages[len(q.store.messages)-1].ID
			fixture{q.Queue, m, q.store}.send("", wire.Next, box)
			commit()
			next := q.store.boxes[box][len(q.store.boxes[box])-1]
			if next.Seq != last.Seq+1 {
				t.Errorf("%s: got number %d after %d, want the next one", again, next.Seq, last.Seq)
			}
			if next.message.ID.String() <= newest.String() {
				t.Errorf("%s: got id %s after %s, want a greater one", again, next.message.ID, newest)
			}
			last = next
		}
	})
}

// TestForgetWaitsForTheStore checks that a mesh stays in memory until its messages are
// stored.
func TestForgetWaitsForTheStore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		q.store.behave(slow, always(none))
		q.send("m", wire.Next, box)
		if q.Forget(mesh) {
			t.Error("the mesh was forgotten before its message was stored")
		}
		pause(slow() * 3)
		if !q.Forget(mesh) {
			t.Error("the mesh was not forgotten after its message was stored")
		}
	})
}
