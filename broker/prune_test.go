package broker_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// TestAuditRetention checks that the broker deletes the entries that are older than AuditRetention,
// more than it deletes at a time, and that what is left can be verified: by the operator, and by
// clients whose checkpoint is older or newer than the first entry that is left.
func TestAuditRetention(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const old, all = 1200, 1210
	mixed, fresh := wire.ID{1}, wire.ID{2}
	heads := append([]audit.Head{{}}, fillLog(t, store, mixed, all, func(seq int) time.Duration {
		if seq <= old {
			return 25 * time.Hour
		}
		return 23 * time.Hour
	})...)
	fillLog(t, store, fresh, 3, func(int) time.Duration { return time.Hour })
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	s := startAt(t, path, func(s *broker.Settings) { s.AuditRetention = 24 * time.Hour })
	first := func(id wire.ID) int64 {
		entries, err := s.store.AuditEntries(t.Context(), id, 0, 1)
		if err != nil || len(entries) == 0 {
			t.Fatalf("no entries, error %v", err)
		}
		return entries[0].Seq
	}
	await.Until(t, "the old entries are deleted", func() bool { return first(mixed) == old+1 })
	if first(fresh) != 1 {
		t.Error("entries that are not old are deleted")
	}
	report, err := audit.VerifyMesh(t.Context(), s.store, mixed)
	if err != nil || report.Base != heads[old] || report.Head != heads[all] {
		t.Errorf("the log is not intact: %+v, error %v", report, err)
	}

	key, err := s.store.AuditKey(t.Context(), audit.Key{})
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int64]audit.Outcome{old - 1: audit.Pruned, old + 1: audit.Extended} {
		verifier := key.Verifier(mixed)
		shown := &wire.Checkpoints{Verifier: verifier, Newest: key.Checkpoint(mixed, heads[all])}
		if shown.Pruned, err = s.store.AuditPruned(t.Context(), mixed); err != nil {
			t.Fatal(err)
		}
		if size > old {
			shown.Kept = key.Checkpoint(mixed, heads[size])
		}
		kept := audit.Kept{Verifier: verifier, Checkpoint: key.Checkpoint(mixed, heads[size])}
		if got, _ := kept.Compare(mixed, shown); got.Outcome != want {
			t.Errorf("a client that keeps the checkpoint of %d: %s, want %s", size, got.Outcome, want)
		}
	}
}

// fillLog stores a log of n entries, each as old as age says, and returns its heads.
func fillLog(t *testing.T, store *sqlite.Store, id wire.ID, n int, age func(seq int) time.Duration) (heads []audit.Head) {
	t.Helper()
	var batch journal.Batch
	var head audit.Head
	for seq := 1; seq <= n; seq++ {
		var e audit.Entry
		e, head = audit.Extend(head, audit.Event{
			MeshID: id, At: time.Now().Add(-age(seq)), Kind: audit.PeerJoined, Actor: audit.Broker, Detail: `{}`,
		})
		batch.Audit = append(batch.Audit, e)
		heads = append(heads, head)
	}
	if _, err := store.Commit(t.Context(), &batch); err != nil {
		t.Fatal(err)
	}
	return heads
}
