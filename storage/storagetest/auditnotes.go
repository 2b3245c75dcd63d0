package storagetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
)

func testAuditNotes(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	equal(t, "no key", must[audit.Key](t)(s.AuditKey(ctx, audit.Key{})).IsZero(), true)

	// The first caller makes the key, and all callers get it.
	other := db.Open(t)
	defer other.Close()
	keys := make([]audit.Key, 8)
	var wait sync.WaitGroup
	for i := range keys {
		store := []Store{s, other}[i%2]
		wait.Go(func() {
			key, err := store.AuditKey(ctx, audit.NewKey())
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	wait.Wait()
	for _, key := range keys {
		if key != keys[0] || key.IsZero() {
			t.Fatal("the callers got different keys")
		}
	}
	equal(t, "the key without a fresh one", must[audit.Key](t)(s.AuditKey(ctx, audit.Key{})) == keys[0], true)

	a, b := newID(), newID()
	equal(t, "announcements", len(must[[]string](t)(s.AuditRestores(ctx, a, 10))), 0)
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprintf("announcement %d\n\n— x y\n", i))
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		check(t, s.AddAuditRestore(ctx, a, now.Add(time.Duration(i)*time.Second), want[i]))
	}
	check(t, s.AddAuditRestore(ctx, b, now, "another mesh's"))
	equal(t, "announcements", must[[]string](t)(s.AuditRestores(ctx, a, 10)), want)
	equal(t, "the newest", must[[]string](t)(s.AuditRestores(ctx, a, 2)), want[3:])
}

func testPrunedAudit(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	a, b := newID(), newID()
	chain, others := entries(a, audit.Head{}, 10), entries(b, audit.Head{}, 3)
	commit(t, s, journal.Batch{Audit: append(append([]audit.Entry{}, chain...), others...)})
	equal(t, "not pruned", must[string](t)(s.AuditPruned(ctx, a)), "")
	prune := func(upTo int64, note string, limit, want int) {
		t.Helper()
		equal(t, "deleted", must[int](t)(s.PruneAudit(ctx, a, upTo, note, limit)), want)
	}
	prune(6, "six", 4, 4)
	equal(t, "pruned", must[string](t)(s.AuditPruned(ctx, a)), "six")
	equal(t, "entries", must[[]audit.Entry](t)(s.AuditEntries(ctx, a, 0, 100)), chain[4:])
	prune(6, "six", 4, 2)
	prune(6, "six", 4, 0)
	prune(3, "three", 4, 0)
	equal(t, "pruned", must[string](t)(s.AuditPruned(ctx, a)), "six")
	prune(7, "seven", 4, 1)
	equal(t, "pruned", must[string](t)(s.AuditPruned(ctx, a)), "seven")
	equal(t, "entries", must[[]audit.Entry](t)(s.AuditEntries(ctx, a, 0, 100)), chain[7:])
	equal(t, "head", must[audit.Head](t)(s.AuditHead(ctx, a)), audit.Head{Seq: 10, Hash: chain[9].Hash})
	equal(t, "entries of the other", must[[]audit.Entry](t)(s.AuditEntries(ctx, b, 0, 100)), others)
	equal(t, "the other", must[string](t)(s.AuditPruned(ctx, b)), "")
}
