package queue_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// TestPushCarriesTheAttestation checks that a push carries the sender's attestation:
// pushed live, between presences of one member, and read back from the store.
func TestPushCarriesTheAttestation(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		a := &wire.Attestation{SessionPubkey: "s", ParentMemberPubkey: "m", ExpiresAt: 7, Signature: "g"}
		want := map[string]any{"sessionPubkey": "s", "parentMemberPubkey": "m", "expiresAt": 7.0, "signature": "g"}
		here, own, away := box, queue.Mailbox{Mesh: mesh, Name: "s/own"}, queue.Mailbox{Mesh: mesh, Name: "s/away"}
		live, same, late := &inbox{}, &inbox{}, &inbox{}
		q.Attach(here, live, false)
		q.Attach(own, same, false)
		commit()
		q.Accept(queue.Message{SenderMember: member, SenderMemberKey: wire.Key{1}, Priority: wire.Now, SenderAttestation: a},
			[]queue.To{{Mailbox: here}, {Mailbox: own, SameMember: true}, {Mailbox: away}}, func(queue.Result) {})
		q.Accept(queue.Message{SenderMember: member, Priority: wire.Now}, []queue.To{{Mailbox: here}}, func(queue.Result) {})
		commit()
		q.Attach(away, late, false)
		commit()
		for name, in := range map[string]*inbox{"live": live, "own": same, "late": late} {
			if got := in.pushes[0]["senderAttestation"]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got attestation %v, want %v", name, got, want)
			}
		}
		if _, there := live.pushes[1]["senderAttestation"]; there {
			t.Error("a message without an attestation was pushed with one")
		}
	})
}

// TestMailboxChangesHands moves a mailbox to another connection while the first is still
// catching up. It checks that the second gets, in order, everything that the first has not
// acknowledged, that later acknowledgements of the first do not count, and that neither
// connection waits for the other.
func TestMailboxChangesHands(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		for _, id := range []string{"1", "2", "3"} {
			q.send(id, wire.Now, box)
		}
		commit()
		first, second := &inbox{}, &inbox{}
		q.store.behave(slow, always(none))
		q.Attach(box, first, false)
		q.Attach(box, second, false)
		if first.caughtUp != 1 {
			t.Fatalf("the first connection was told %d times that it has caught up, want once", first.caughtUp)
		}
		pause(10 * time.Second)
		expect(t, first)
		expect(t, second, "1", "2", "3")
		if q.Acknowledge(box, first, second.id(t, 0), "1") {
			t.Error("a connection that lost the mailbox could acknowledge a push")
		}
		if !q.Acknowledge(box, second, second.id(t, 0), "") {
			t.Error("an acknowledgement that names the broker's id alone did not count")
		}
		third := &inbox{}
		q.Attach(box, third, false)
		q.send("4", wire.Now, box)
		pause(10 * time.Second)
		expect(t, third, "2", "3", "4")
		q.Detach(box, second) // has no effect: second has lost the mailbox
		q.send("5", wire.Now, box)
		pause(10 * time.Second)
		expect(t, third, "2", "3", "4", "5")
		if first.caughtUp != 1 || second.caughtUp != 1 || third.caughtUp != 1 {
			t.Errorf("the connections caught up %d, %d and %d times, want once each", first.caughtUp, second.caughtUp, third.caughtUp)
		}
	})
}

// TestAcknowledgementOutlivesAHandover gives a mailbox back to a connection before
// anything is committed, and checks that the connection does not get an acknowledged
// message again.
func TestAcknowledgementOutlivesAHandover(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		first, second := &inbox{}, &inbox{}
		q.Attach(box, first, false)
		commit()
		q.store.behave(slow, always(none))
		r := q.send("m", wire.Now, box)
		q.Attach(box, second, false)
		q.Attach(box, first, false)
		if !q.Acknowledge(box, first, first.id(t, 0), "m") || r.err() != nil {
			t.Errorf("the acknowledgement did not count: %v", r.err())
		}
		pause(10 * time.Second)
		expect(t, first, "m")
		expect(t, second)
		if n := q.store.pendingIn(box); n != 0 {
			t.Errorf("%d deliveries are pending, want none", n)
		}
	})
}
