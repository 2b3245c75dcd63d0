package queue_test

import (
	"testing"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// Each mesh numbers its own deliveries, and goes on where it was whenever it is loaded.
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
			t.Errorf("the first of one mesh is number %d, the last of another %d", first.Seq, last.Seq)
		}
		for _, again := range []string{"loaded twice", "forgotten in between"} {
			if again != "loaded twice" && !q.Forget(mesh) {
				t.Fatal("not forgotten")
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
				t.Errorf("%s: number %d after %d", again, next.Seq, last.Seq)
			}
			if next.message.ID.String() <= newest.String() {
				t.Errorf("%s: id %s after %s", again, next.message.ID, newest)
			}
			last = next
		}
	})
}

// A mesh stays in memory until its messages are stored.
func TestForgetWaitsForTheStore(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		q.store.behave(slow, always(none))
		q.send("m", wire.Next, box)
		if q.Forget(mesh) {
			t.Error("forgotten while a message is on its way into the store")
		}
		pause(slow() * 3)
		if !q.Forget(mesh) {
			t.Error("not forgotten once it is there")
		}
	})
}
