package queue_test

import (
	"testing"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// TestAcknowledgementByClientID checks that an acknowledgement without a message id means the oldest push
// with its client id: several members may have chosen the same one.
func TestAcknowledgementByClientID(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var first, second inbox
		q.Attach(box, &first, false)
		commit()
		for n := range byte(5) {
			sender := wire.ID{n + 1}
			if err := q.Prepare(t.Context(), sender); err != nil {
				t.Fatal(err)
			}
			q.Accept(queue.Message{SenderMember: sender, ClientID: "m", Priority: wire.Next, TargetSpec: "@x"}, []queue.To{{Mailbox: box}}, new(fate).tell)
		}
		commit()
		expect(t, &first, "m", "m", "m", "m", "m")
		for range 3 {
			if !q.Acknowledge(box, &first, wire.ID{}, "m") {
				t.Fatal("an acknowledgement meant no push")
			}
		}
		q.Attach(box, &second, false)
		commit()
		expect(t, &second, "m", "m")
		for i := range second.pushes {
			if got, want := second.id(t, i), first.id(t, 3+i); got != want {
				t.Errorf("push %d again: got message %s, want %s", i, got, want)
			}
		}
	})
}
