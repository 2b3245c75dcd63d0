package store

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestRanksOfReceipts checks that a message that a recipient refused but later got into its context
// does not count as refused. A message in the context stays there.
func TestRanksOfReceipts(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), peer.Dir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.AddMessage(t.Context(), &Message{ID: "m", Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	want := local.Delivered
	for _, says := range []local.State{local.Delivered, local.Refused, local.Delivered, local.InContext, local.Refused} {
		if err := s.AddReport(t.Context(), "m", Report{Key: wire.Key{1}, State: says, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if want != local.InContext && says != local.Delivered {
			want = says
		}
		list, err := s.Reports(t.Context(), "m")
		if err != nil || len(list) != 1 || list[0].State != want {
			t.Fatalf("after %s: %+v, %v", says, list, err)
		}
	}
}
