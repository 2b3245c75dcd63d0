package daemon

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/attention"
	"github.com/claudemesh/claudemesh/wire"
)

// TestPointersAreSettled checks that a pointer is repeated unless the hook reports that it
// has printed it.
func TestPointersAreSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		announced := 0
		desk := attention.New(attention.Options{OnAnnounced: func(ids []int64) { announced += len(ids) }})
		defer desk.Close()
		desk.Arrive(attention.Message{ID: 1, Member: "alice", Name: "alice", Priority: wire.Now})
		var p, ofAnotherSession pointers
		lost := desk.Hook(attention.HumanPrompt)
		if lost == nil {
			t.Fatal("no pointer")
		}
		number := p.add(lost)
		time.Sleep(printedWithin - time.Millisecond)
		synctest.Wait()
		if desk.Hook(attention.HumanPrompt) != nil {
			t.Error("got a second pointer while the first is being printed")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		again := desk.Hook(attention.HumanPrompt)
		if again == nil || announced != 0 {
			t.Fatalf("after the first pointer was not printed: got %v, %d announced; want another pointer, 0", again, announced)
		}
		p.settle(number, nil) // too late
		if announced != 0 {
			t.Error("a pointer was settled twice")
		}
		next := ofAnotherSession.add(again)
		ofAnotherSession.settle(number, nil) // the hook ran for the session before
		if announced != 0 {
			t.Error("a pointer was settled by the number of another")
		}
		ofAnotherSession.settle(next, nil)
		time.Sleep(2 * printedWithin)
		synctest.Wait()
		if announced != 1 || desk.Hook(attention.HumanPrompt) != nil || len(ofAnotherSession.open) != 0 {
			t.Errorf("got %d announced and %d open, want 1 and 0", announced, len(ofAnotherSession.open))
		}
	})
}
