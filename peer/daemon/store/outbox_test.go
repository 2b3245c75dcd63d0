package store

import (
	"errors"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
)

// TestPruneKeepsWaitingMessages checks that a message waits for its broker for as long as its mesh
// is joined, whatever the clock says.
func TestPruneKeepsWaitingMessages(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), peer.Dir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	for _, tc := range []struct {
		id, mesh string
		sent     bool
		age      time.Duration
		kept     bool
	}{
		{"waits", "joined", false, 7 * OutboxLife, true},
		{"from a clock that was not set", "joined", false, now.Sub(time.Unix(0, 0)), true},
		{"sent", "joined", true, OutboxLife - time.Hour, true},
		{"sent long ago", "joined", true, OutboxLife + time.Hour, false},
		{"in a mesh that was left", "left", false, OutboxLife + time.Hour, true},
		{"long ago in a mesh that was left", "left", false, 5 * OutboxLife, false},
	} {
		if _, err := s.AddMessage(t.Context(), &Message{ID: tc.id, MeshID: tc.mesh, Created: now.Add(-tc.age)}); err != nil {
			t.Fatal(err)
		}
		if tc.sent {
			if err := s.Queued(t.Context(), tc.id, "m", ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Prune(t.Context(), []string{"joined"}, now); err != nil {
			t.Fatal(err)
		}
		if _, err := s.MessageByID(t.Context(), tc.id); (err == nil) != tc.kept || err != nil && !errors.Is(err, ErrNoMessage) {
			t.Errorf("%s: %v, want it kept: %v", tc.id, err, tc.kept)
		}
	}
}
