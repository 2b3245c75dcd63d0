package attention

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoopBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{})
		bob, carol := Recipient{"b", "bob"}, Recipient{"c", "<carol>"}
		for i := range sendBurst {
			d.Arrive(Message{ID: int64(i), Member: "b"})
			if err := d.AllowSend(bob); err != nil {
				t.Fatalf("send %d: %v", i+1, err)
			}
		}
		err := d.AllowSend(bob)
		var loop *LoopError
		if !errors.As(err, &loop) || loop.Exchanged != 2*sendBurst {
			t.Fatalf("send %d: %v", sendBurst+1, err)
		}
		const want = "not sent: you have exchanged 40 messages with bob since your user's last prompt; wait for your user"
		if err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
		if err := d.AllowSend(carol); err != nil {
			t.Errorf("another peer: %v", err)
		}

		time.Sleep(sendRefill)
		if err := d.AllowSend(bob); err != nil {
			t.Errorf("after %v: %v", sendRefill, err)
		}
		if d.AllowSend(bob) == nil {
			t.Error("allowed one send more than was refilled")
		}

		d.HumanPrompt()
		for i := range sendBurst {
			if err := d.AllowSend(bob); err != nil {
				t.Fatalf("send %d after the user's prompt: %v", i+1, err)
			}
		}
		if err := d.AllowSend(bob); !errors.As(err, &loop) || loop.Exchanged != sendBurst {
			t.Errorf("one too many after the user's prompt: %v", err)
		}
	})
}

// TestNotSent checks that messages that were not sent use up no budget, and that they can't raise it.
func TestNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{})
		bob := Recipient{"b", "see <this>"}
		for i := range 3 * sendBurst {
			if err := d.AllowSend(bob); err != nil {
				t.Fatalf("unsent messages counted: send %d: %v", i+1, err)
			}
			d.NotSent(bob)
		}
		d.AllowSend(bob)
		d.HumanPrompt()
		d.NotSent(bob)
		for i := range sendBurst {
			if err := d.AllowSend(bob); err != nil {
				t.Fatalf("send %d: %v", i+1, err)
			}
		}
		const want = "not sent: you have exchanged 20 messages with them since your user's last prompt; wait for your user"
		if err := d.AllowSend(bob); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestMembersAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{})
		for i := range 5 * maxMembers {
			d.AllowSend(Recipient{Member: fmt.Sprint(i)})
			if i%maxMembers == 0 {
				d.HumanPrompt()
			}
		}
		if d.AllowSend(Recipient{Member: "x"}); len(d.members) > maxMembers+1 {
			t.Errorf("%d members kept", len(d.members))
		}

		// The Desk keeps members that are not in their initial state.
		for range sendBurst {
			d.AllowSend(Recipient{Member: "full"})
		}
		for i := range 2 * maxMembers {
			d.AllowSend(Recipient{Member: fmt.Sprint("more", i)})
		}
		if d.AllowSend(Recipient{Member: "full"}) == nil {
			t.Error("a flood of members made the Desk forget a member that has got too many")
		}
	})
}
