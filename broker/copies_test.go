package broker

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// TestCopyIsExpectedUntilItIsSafe checks that a copy that was refused counts as one when its sender
// sends it again, and not any more once it is safe.
func TestCopyIsExpectedUntilItIsSafe(t *testing.T) {
	t.Parallel()
	b := New(Options{Settings: DefaultSettings(), Storage: &kept{}})
	to, member := wire.Key{1}, wire.ID{2}
	c := &conn{broker: b, room: &room{copies: newCopyRights()}, actor: mesh.Actor{MemberID: member}}
	c.acks = newAckLine(&c.out)
	c.out.closed = true // the answers are not read
	c.room.copies.add(member, "m", []wire.Unopened{{Pubkey: to}}, time.Now())
	a := &arrival{
		Send: wire.Send{ClientID: wire.CopyID("m", to), BodyVersion: wire.BodyCopy, Targets: []wire.Target{{Kind: wire.TargetKey, Key: to}}},
		at:   time.Now(),
	}
	for i, result := range []queue.Result{{Err: queue.ErrUnavailable}, {Err: queue.ErrMeshFull}, {MessageID: wire.ID{3}}} {
		if a.isCopy = c.isCopy(&a.Send); !a.isCopy {
			t.Fatalf("attempt %d does not count as a copy", i+1)
		}
		a.slot = c.acks.enter("", "", nil)
		c.decide(a)(result)
	}
	if c.isCopy(&a.Send) {
		t.Error("a copy is expected although it is safe")
	}
	if n := len(c.room.copies.byMember); n != 0 {
		t.Errorf("%d members have rights, want none", n)
	}
}
