package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// resend makes the same message again, as the broker would, with another id and seq.
func resend(m *queue.Accepted) *queue.Accepted {
	again := message(m.MeshID, "s/again")
	again.SenderMember, again.ClientID = m.SenderMember, m.ClientID
	return again
}

func duplicates(t testing.TB, s Store, list ...*queue.Accepted) []journal.Duplicate {
	t.Helper()
	return must[[]journal.Duplicate](t)(s.Commit(t.Context(), &journal.Batch{Messages: list}))
}

func testDuplicates(t *testing.T, db Database) {
	s := ready(t, db)
	a, b := message(newID(), "s/a"), message(newID(), "s/a")
	a.ClientID, b.ClientID = "intent-1", "intent-2"
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{a, b}})

	fresh, againA, againB, unkeyed := message(a.MeshID, "s/a"), resend(a), resend(b), resend(a)
	fresh.ClientID, fresh.SenderMember, unkeyed.ClientID = "intent-3", a.SenderMember, ""
	got := duplicates(t, s, againA, fresh, unkeyed, againB)
	equal(t, "duplicates", got, []journal.Duplicate{{Index: 0, Original: a.ID}, {Index: 3, Original: b.ID}})
	for _, m := range []*queue.Accepted{againA, againB} {
		if found := must[[]queue.Accepted](t)(s.Find(t.Context(), m.MeshID, m.ID.String(), 1)); len(found) != 0 {
			t.Error("a duplicate was stored")
		}
	}
	equal(t, "deliveries of a message that wasn't a duplicate", len(waiting(t, s, a.MeshID, "s/again")), 1)
	equal(t, "deliveries of the duplicate", len(waiting(t, s, b.MeshID, "s/again")), 0)
	find(t, s, fresh)

	// The same holds after the original was read.
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(a, 0, queue.Delivered)}})
	equal(t, "duplicate of a read message", duplicates(t, s, resend(a)), []journal.Duplicate{{Index: 0, Original: a.ID}})
}

func testDuplicatesWithin(t *testing.T, db Database) {
	s := ready(t, db)
	stored, a := message(newID(), "s/a"), message(newID(), "s/a")
	stored.ClientID, a.ClientID = "old", "new"
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{stored}})
	got := duplicates(t, s, a, resend(a), resend(stored), message(a.MeshID, "s/a"), resend(a), resend(stored))
	equal(t, "duplicates", got, []journal.Duplicate{{Index: 1, Original: a.ID}, {Index: 2, Original: stored.ID},
		{Index: 4, Original: a.ID}, {Index: 5, Original: stored.ID}})
	equal(t, "deliveries", len(waiting(t, s, a.MeshID, "s/a")), 2)
	equal(t, "deliveries of duplicates", len(waiting(t, s, a.MeshID, "s/again")), 0)
}

func testDuplicatesScope(t *testing.T, db Database) {
	s := ready(t, db)
	a := message(newID(), "s/a")
	a.ClientID = "intent"
	otherMember, otherMesh, otherCase := message(a.MeshID, "s/a"), message(newID(), "s/a"), resend(a)
	otherMember.ClientID, otherMesh.ClientID, otherCase.ClientID = a.ClientID, a.ClientID, "Intent"
	otherMesh.SenderMember = a.SenderMember
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{a, otherMember, otherMesh, otherCase}})
	for _, m := range []*queue.Accepted{a, otherMember, otherMesh, otherCase} {
		find(t, s, m)
	}
}

// testRecommit does what a journal does when it does not know a batch's fate.
func testRecommit(t *testing.T, db Database) {
	s := ready(t, db)
	m, keyed := message(newID(), "s/a"), message(newID(), "s/a")
	keyed.ClientID = "intent"
	batch := journal.Batch{Messages: []*queue.Accepted{m, keyed}}
	commit(t, s, batch)
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 0, queue.Delivered)}})
	commit(t, s, batch) // stores nothing new, and reports no duplicates: the ids are the same
	equal(t, "states", states(t, s, m), []queue.State{queue.Delivered})
	equal(t, "deliveries", len(waiting(t, s, keyed.MeshID, "s/a")), 1)
}

func testAudit(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	a, b := newID(), newID()
	head := func(id wire.ID) audit.Head { t.Helper(); return must[audit.Head](t)(s.AuditHead(ctx, id)) }
	equal(t, "head of nothing", head(a), audit.Head{})
	logs := func() []audit.Log { t.Helper(); return must[[]audit.Log](t)(s.AuditLogs(ctx)) }
	equal(t, "logs of nothing", len(logs()), 0)

	chainA, chainB := entries(a, audit.Head{}, 100), entries(b, audit.Head{}, 2)
	mixed := append(append(append([]audit.Entry{}, chainA[:50]...), chainB...), chainA[50:]...)
	commit(t, s, journal.Batch{Audit: mixed})
	commit(t, s, journal.Batch{Audit: entries(b, head(b), 1)})
	equal(t, "head", head(a), audit.Head{Seq: 100, Hash: chainA[99].Hash})
	equal(t, "length of the other", head(b).Seq, 3)

	read := func(after int64, limit int) []audit.Entry {
		t.Helper()
		return must[[]audit.Entry](t)(s.AuditEntries(ctx, a, after, limit))
	}
	equal(t, "all", read(0, 1000), chainA)
	equal(t, "some", read(10, 5), chainA[10:15])
	equal(t, "after the end", len(read(100, 5)), 0)
	equal(t, "logs", logs(), []audit.Log{{Mesh: a, Head: head(a)}, {Mesh: b, Head: head(b)}})
	m, _ := newMesh(t, s)
	commit(t, s, journal.Batch{Audit: entries(m.ID, audit.Head{}, 1)})
	equal(t, "the log of a mesh", slices.Contains(logs(), audit.Log{Mesh: m.ID, Slug: m.Slug, Head: head(m.ID)}), true)

	// A log is still listed after its entries or its head were deleted.
	db.Exec(t, `DELETE FROM `+db.Schema+`audit_heads WHERE seq = 100`)
	db.Exec(t, `DELETE FROM `+db.Schema+`audit_entries WHERE seq IN (SELECT seq FROM `+db.Schema+`audit_entries WHERE seq <= 3) AND kind <> ''`)
	equal(t, "logs after tampering", logs()[:2], []audit.Log{{Mesh: a}, {Mesh: b, Head: head(b)}})
}

func testForked(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	meshID, other := newID(), newID()
	chain := entries(meshID, audit.Head{}, 3)
	commit(t, s, journal.Batch{Audit: chain})
	head := must[audit.Head](t)(s.AuditHead(ctx, meshID))

	m, old, r := message(meshID, "s/a"), message(meshID, "s/a"), record(meshID)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{old}})
	for name, taken := range map[string][]audit.Entry{
		"in the middle": entries(meshID, audit.Head{Seq: 1, Hash: chain[0].Hash}, 1),
		"at the end":    entries(meshID, audit.Head{Seq: 2, Hash: chain[1].Hash}, 2),
		"the same":      chain[2:],
	} {
		b := journal.Batch{Messages: []*queue.Accepted{m}, Settled: []queue.Settlement{settle(old, 0, queue.Delivered)},
			Presences: append(b0, r), Audit: append(entries(other, audit.Head{}, 1), taken...)}
		if _, err := s.Commit(ctx, &b); !errors.Is(err, journal.ErrForked) {
			t.Fatalf("an entry whose place is taken %s: got %v, want ErrForked", name, err)
		}
	}
	equal(t, "head", must[audit.Head](t)(s.AuditHead(ctx, meshID)), head)
	equal(t, "other head", must[audit.Head](t)(s.AuditHead(ctx, other)), audit.Head{})
	equal(t, "entries", must[[]audit.Entry](t)(s.AuditEntries(ctx, meshID, 0, 10)), chain)
	nothingOf(t, s, m, r.Identity, old)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m}, Audit: entries(meshID, head, 1)})
}

func testAtomic(t *testing.T, db Database) {
	s := ready(t, db)
	old := message(newID(), "s/a")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{old}})
	m, clash, r := message(old.MeshID, "s/a"), message(old.MeshID, "s/a"), record(old.MeshID)
	clash.Recipients[0].Seq = old.Recipients[0].Seq // in use: the database refuses it
	_, err := s.Commit(t.Context(), &journal.Batch{Messages: []*queue.Accepted{m, clash}, Presences: append(b0, r),
		Settled: []queue.Settlement{settle(old, 0, queue.Delivered)}, Audit: entries(old.MeshID, audit.Head{}, 1)})
	if err == nil || errors.Is(err, journal.ErrForked) {
		t.Fatalf("a batch with a seq that is in use: got error %v", err)
	}
	equal(t, "head", must[audit.Head](t)(s.AuditHead(t.Context(), old.MeshID)), audit.Head{})
	nothingOf(t, s, m, r.Identity, old)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m}}) // the store still works
}

func testLargeBatch(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	for _, n := range []int{1, 3, 63, 65, 333} { // around the sizes of chunks
		box := fmt.Sprintf("s/%d", n)
		list := messages(meshID, n, box)
		for i, m := range list {
			m.ClientID = fmt.Sprint(n, "/", i)
		}
		head := must[audit.Head](t)(s.AuditHead(t.Context(), meshID))
		commit(t, s, journal.Batch{Messages: list, Audit: entries(meshID, head, n)})
		got := waiting(t, s, meshID, box)
		equal(t, "waiting", len(got), n)
		var settled []queue.Settlement
		var again []*queue.Accepted
		for i, m := range list {
			equal(t, "message", got[i].Message, m.Message)
			settled = append(settled, settle(m, 0, queue.Delivered))
			again = append(again, resend(m))
		}
		dups := duplicates(t, s, again...)
		equal(t, "duplicates", len(dups), n)
		equal(t, "the last duplicate", dups[n-1], journal.Duplicate{Index: n - 1, Original: list[n-1].ID})
		commit(t, s, journal.Batch{Settled: settled})
		equal(t, "waiting after", len(waiting(t, s, meshID, box)), 0)
		wantBodies(t, db, "0")
	}
}

func testConcurrentCommits(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	original := message(meshID, "s/a")
	original.ClientID = "intent"
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := 0
	for range 8 {
		m := resend(original)
		wg.Go(func() {
			for range 5 {
				dups, err := s.Commit(t.Context(), &journal.Batch{Messages: append(messages(meshID, 10, "s/a"), m)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if len(dups) == 0 {
					stored++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(t, "deliveries", len(waiting(t, s, meshID, "s/a")), 400)
	equal(t, "deliveries of one intent", len(waiting(t, s, meshID, "s/again")), 1)
	equal(t, "commits of the message that was stored", stored, 5)
}
