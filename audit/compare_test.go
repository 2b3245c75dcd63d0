package audit

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// fork returns the head of a chain of n entries, of which those after the first common
// differ from those of chain.
func fork(common, n int) Head {
	entries, _ := chain(testMesh, common)
	var head Head
	for _, e := range entries {
		head = Head{e.Seq, e.Hash}
	}
	for range n - common {
		_, head = Extend(head, NewEvent(testMesh, testTime, Broker, MeshCreatedDetail{Slug: "forged"}))
	}
	return head
}

func headAt(n int) Head {
	_, head := chain(testMesh, n)
	return head
}

func TestCompare(t *testing.T) {
	t.Parallel()
	key, other := testKey(0), testKey(1)
	verifier := key.Verifier(testMesh)
	at := func(h Head) string { return key.Checkpoint(testMesh, h) }
	restored := func(n int) string { return key.Announce(testMesh, Restore{headAt(n), testTime}) }
	later := key.Announce(testMesh, Restore{headAt(8), testTime.Add(time.Hour)})
	kept := Kept{Verifier: verifier, Checkpoint: at(headAt(10))}
	seen := func(list ...string) Kept { k := kept; k.Restores = list; return k }
	show := func(newest, then string, restores ...string) wire.Checkpoints {
		return wire.Checkpoints{Verifier: verifier, Newest: newest, Kept: then, Restores: restores}
	}
	pruned := show(at(headAt(20)), "")
	pruned.Pruned = at(headAt(15))
	prunedBefore := show(at(headAt(20)), "")
	prunedBefore.Pruned = at(headAt(5))
	prunedFork := show(at(fork(5, 20)), at(fork(5, 10)))
	prunedFork.Pruned = at(headAt(15))
	cases := []struct {
		name  string
		kept  Kept
		shown wire.Checkpoints
		want  Outcome
		proof string // the note that must be shown besides the kept one; "": the newest
	}{
		{"nothing kept", Kept{}, show(at(headAt(3)), ""), Begun, ""},
		{"nothing kept, empty log", Kept{}, show(at(Head{}), ""), Begun, ""},
		{"nothing kept, bad note", Kept{}, show("x", ""), Invalid, ""},
		{"nothing kept, signed by another key", Kept{}, show(other.Checkpoint(testMesh, headAt(3)), ""), Invalid, ""},
		{"the same", kept, show(at(headAt(10)), ""), Extended, ""},
		{"longer", kept, show(at(headAt(20)), at(headAt(10))), Extended, ""},
		{"longer than the empty log", Kept{Verifier: verifier, Checkpoint: at(Head{})}, show(at(headAt(20)), ""), Extended, ""},

		{"same size, another hash", kept, show(at(fork(9, 10)), ""), Forked, ""},
		{"longer, another hash at the kept size", kept, show(at(fork(9, 20)), at(fork(9, 10))), Forked, at(fork(9, 10))},
		{"shorter", kept, show(at(headAt(9)), ""), RolledBack, ""},
		{"shorter and another", kept, show(at(fork(2, 9)), ""), RolledBack, ""},
		{"emptied", kept, show(at(Head{}), ""), RolledBack, ""},
		{"longer without a proof", kept, show(at(headAt(20)), ""), Unproven, ""},
		{"longer with the proof of another size", kept, show(at(headAt(20)), at(headAt(9))), Unproven, ""},
		{"longer with a proof by another key", kept, show(at(headAt(20)), other.Checkpoint(testMesh, headAt(10))), Unproven, ""},
		{"newest by another key", kept, show(other.Checkpoint(testMesh, headAt(20)), at(headAt(10))), Invalid, ""},
		{"another verifier key", kept, wire.Checkpoints{Verifier: other.Verifier(testMesh), Newest: other.Checkpoint(testMesh, headAt(10))}, KeyChanged, ""},
		{"no verifier key", kept, wire.Checkpoints{Newest: at(headAt(10))}, KeyChanged, ""},
		{"spoiled on the client's disk", Kept{Verifier: verifier, Checkpoint: "x"}, show(at(headAt(10)), ""), Invalid, ""},

		{"pruned beyond the kept size", kept, pruned, Pruned, ""},
		{"pruned before the kept size", kept, prunedBefore, Unproven, ""},
		{"pruned, and yet a fork", kept, prunedFork, Forked, at(fork(5, 10))},

		{"restored to a shorter log", kept, show(at(fork(6, 7)), "", restored(6)), Restored, ""},
		{"restored, then as long as before", kept, show(at(fork(6, 10)), "", restored(6)), Restored, ""},
		{"restored, then longer than before", kept, show(at(fork(6, 20)), at(fork(6, 10)), restored(6)), Restored, at(fork(6, 10))},
		{"restored twice", kept, show(at(fork(8, 9)), "", restored(6), later), Restored, ""},
		{"restored to more than is kept", kept, show(at(fork(9, 10)), "", restored(10)), Forked, ""},
		{"shorter than what was restored", kept, show(at(headAt(5)), "", restored(6)), RolledBack, ""},
		{"an old announcement explains nothing new", seen(restored(6)), show(at(fork(6, 7)), "", restored(6)), RolledBack, ""},
		{"a new one does", seen(restored(6)), show(at(fork(8, 9)), "", restored(6), later), Restored, ""},
		{"an announcement by another key", kept, show(at(fork(6, 7)), "", other.Announce(testMesh, Restore{headAt(6), testTime})), RolledBack, ""},
		{"an announcement to another mesh", kept, show(at(fork(6, 7)), "", key.Announce(otherMesh, Restore{headAt(6), testTime})), RolledBack, ""},
		{"nonsense among the announcements", kept, show(at(headAt(20)), at(headAt(10)), "x", ""), Extended, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, next := c.kept.Compare(testMesh, &c.shown)
			if got.Outcome != c.want {
				t.Fatalf("%+v; want %s", got, c.want)
			}
			if c.proof == "" {
				c.proof = c.shown.Newest
			}
			if got.Kept != c.kept.Checkpoint || got.Shown != c.proof {
				t.Errorf("the two notes are %q and %q", got.Kept, got.Shown)
			}
			if !c.want.OK() {
				if next.Checkpoint != c.kept.Checkpoint || next.Verifier != c.kept.Verifier || len(next.Restores) != len(c.kept.Restores) {
					t.Errorf("the client gave up what it had kept: %+v", next)
				}
				return
			}
			if next.Checkpoint != c.shown.Newest || next.Verifier != verifier {
				t.Errorf("the client keeps %+v", next)
			}
			for _, a := range c.shown.Restores {
				if _, err := OpenRestore(verifier, testMesh, a); err == nil && !slices.Contains(next.Restores, a) {
					t.Errorf("the announcement %q could explain something again", a)
				}
			}
			if again, _ := next.Compare(testMesh, &wire.Checkpoints{Verifier: verifier, Newest: c.shown.Newest, Restores: c.shown.Restores}); again.Outcome != Extended {
				t.Errorf("shown again: %+v", again)
			}
		})
	}
}

// TestAnnounceRestore restores a log to an earlier state, and checks that clients can tell
// it from a forgery, and that the log shows the break.
func TestAnnounceRestore(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, 6)
	l := newLog(testMesh, entries, head)
	l.key = testKey(0)
	at := testTime.Add(time.Hour)
	commit := func(_ context.Context, e Entry) error {
		l.entries[e.MeshID] = append(l.entries[e.MeshID], e)
		l.heads[e.MeshID] = Head{e.Seq, e.Hash}
		return nil
	}
	if err := AnnounceRestore(t.Context(), l, at, commit); err != nil {
		t.Fatal(err)
	}
	report, err := VerifyMesh(t.Context(), l, testMesh)
	if err != nil || report.Head.Seq != 7 {
		t.Fatalf("%+v, error %v; want an intact chain of 7", report, err)
	}
	if e := l.entries[testMesh][6]; e.Kind != LogRestored || e.Detail != `{"size":6,"hash":"`+head.Hash.String()+`"}` {
		t.Errorf("the log does not show the break: %+v", e)
	}
	verifier := l.key.Verifier(testMesh)
	kept := Kept{Verifier: verifier, Checkpoint: l.key.Checkpoint(testMesh, headAt(10))}
	got, _ := kept.Compare(testMesh, &wire.Checkpoints{Verifier: verifier, Newest: l.key.Checkpoint(testMesh, report.Head), Restores: l.restores[testMesh]})
	if got.Outcome != Restored || *got.Restore != (Restore{head, at.Truncate(time.Millisecond)}) {
		t.Errorf("got %+v", got)
	}
}

// TestVerifyPruned checks that a pruned log is verified from the signed checkpoint on, and
// that entries can't be deleted without one.
func TestVerifyPruned(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, 12)
	prune := func(signer Key, meshID wire.ID, h Head) *log {
		l := newLog(testMesh, slices.Clone(entries), head)
		l.key = testKey(0)
		if _, err := l.PruneAudit(t.Context(), testMesh, 8, signer.Checkpoint(meshID, h), 5); err != nil { // not all of the 8
			t.Fatal(err)
		}
		return l
	}
	report, err := VerifyMesh(t.Context(), prune(testKey(0), testMesh, headAt(8)), testMesh)
	if want := (Report{MeshID: testMesh, Base: headAt(8), Head: head}); err != nil || !reflect.DeepEqual(report, want) {
		t.Errorf("%+v, error %v; want %+v", report, err, want)
	}
	for name, l := range map[string]*log{
		"another key":  prune(testKey(1), testMesh, headAt(8)),
		"another mesh": prune(testKey(0), otherMesh, headAt(8)),
		"another hash": prune(testKey(0), testMesh, fork(2, 8)),
	} {
		var bad *BadEntry
		if _, err := VerifyMesh(t.Context(), l, testMesh); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := prune(testKey(0), testMesh, headAt(8))
	l.entries[testMesh] = nil
	var bad *BadEntry
	if _, err := VerifyMesh(t.Context(), l, testMesh); !errors.As(err, &bad) || bad.Reason != TailMissing {
		t.Errorf("everything deleted: %v", err)
	}
}

// TestPrunedMeanwhile checks that a log may be pruned while it is read: VerifyMesh goes on
// from where the log begins then, and so does ExportMesh, unless its export would have a gap.
func TestPrunedMeanwhile(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, 2*verifyPage)
	at := func(seq int) Head { return Head{int64(seq), entries[seq-1].Hash} }
	// prunes prunes the log up to a number, when so many pages have been read.
	prunes := func(upTo, pages int) *log {
		l := newLog(testMesh, slices.Clone(entries), head)
		l.key = testKey(0)
		l.onRead = func(l *log) {
			if pages--; pages == 0 {
				_, _ = l.PruneAudit(t.Context(), testMesh, int64(upTo), l.key.Checkpoint(testMesh, at(upTo)), upTo)
			}
		}
		return l
	}
	const first, second = 2, 3 // Base reads an entry, too
	for _, tt := range []struct{ upTo, pages int }{
		{1, first}, {verifyPage + 5, second}, {2 * verifyPage, second}, {2 * verifyPage, first},
	} {
		report, err := VerifyMesh(t.Context(), prunes(tt.upTo, tt.pages), testMesh)
		if err != nil || report.Base != at(tt.upTo) || report.Head != head {
			t.Errorf("%+v: %+v, error %v", tt, report, err)
		}
		n, err := NewExporter(io.Discard).ExportMesh(t.Context(), prunes(tt.upTo, tt.pages), testMesh, time.Time{})
		switch whole := err == nil && n == 2*verifyPage-tt.upTo; {
		case tt.pages == first && !whole, tt.pages == second && (n != verifyPage || !errors.Is(err, ErrPruned)):
			t.Errorf("%+v: exported %d entries, error %v", tt, n, err)
		}
	}
	l := prunes(verifyPage+5, second)
	read := l.onRead
	l.onRead = func(l *log) { // without a checkpoint
		read(l)
		l.pruned = nil
	}
	var bad *BadEntry
	if _, err := VerifyMesh(t.Context(), l, testMesh); !errors.As(err, &bad) || bad.Reason != Missing {
		t.Errorf("without a checkpoint: %v", err)
	}
}
