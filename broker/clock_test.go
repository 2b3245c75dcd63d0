package broker_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// TestWorkingEndsThoughTheClockWasSetBack checks that a session that was working when the
// broker stopped becomes idle after the TTL, even if the clock was set back meanwhile and
// the stored times are in the future.
func TestWorkingEndsThoughTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	var m member
	keys := newKeys(t)
	t.Run("before", func(t *testing.T) {
		s := startAt(t, path, nil)
		m = s.owner()
		c := s.session(m, keys, "me")
		c.send(frame{"type": "set_status", "status": "working", "source": "hook"})
		if row := c.peers()["me"]; row["status"] != "working" {
			t.Fatalf("got row %v, want status working", row)
		}
	})
	setBack(t, path, m.mesh, time.Hour)
	s := startAt(t, path, func(s *broker.Settings) { s.StatusTTL = time.Second })
	c := s.session(m, keys, "me")
	for end := time.Now().Add(await.Patience); c.peers()["me"]["status"] != "idle"; {
		if time.Now().After(end) {
			t.Fatalf("got row %v, want status idle", c.peers()["me"])
		}
	}
}

// setBack adds by to the stored times of a mesh's presences, as if the clock had been set
// back by that much.
func setBack(t *testing.T, path, meshID string, by time.Duration) {
	t.Helper()
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := wire.ParseID(meshID)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	records, err := store.Presences(ctx, id)
	if err != nil || len(records) == 0 {
		t.Fatalf("got %d presences, %v; want some", len(records), err)
	}
	for i := range records {
		records[i].StatusAt, records[i].LastSeenAt = records[i].StatusAt.Add(by), records[i].LastSeenAt.Add(by)
	}
	if _, err := store.Commit(ctx, &journal.Batch{Presences: records}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
