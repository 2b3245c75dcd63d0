package audit

import (
	"context"
	"testing"
	"time"
)

// TestVerifyReportsRestores extends a chain with the entry of a restore, which a verification reports
// even if there is damage behind it.
func TestVerifyReportsRestores(t *testing.T) {
	t.Parallel()
	entries, head := chain(testMesh, 3)
	store := newLog(testMesh, entries, head)
	var added []Entry
	err := AnnounceRestore(t.Context(), store, testTime.Add(time.Hour), func(_ context.Context, e Entry) error {
		added = append(added, e)
		return nil
	})
	if err != nil || len(added) != 1 {
		t.Fatalf("got %+v, error %v", added, err)
	}
	e := added[0]
	want := NewEvent(testMesh, testTime.Add(time.Hour), Broker, LogRestoredDetail{head.Seq, head.Hash})
	if e.Seq != 4 || e.Prev != head.Hash || e.Kind != LogRestored || e.Detail != want.Detail {
		t.Errorf("%+v, want the detail %s", e, want.Detail)
	}
	after, head := Extend(Head{e.Seq, e.Hash}, NewEvent(testMesh, testTime, Broker, PeerLeftDetail{}))
	entries = append(entries, e, after)
	for _, good := range []bool{true, false} {
		report, err := VerifyMesh(t.Context(), newLog(testMesh, entries, head), testMesh)
		if (err == nil) != good || len(report.Restores) != 1 || report.Restores[0].Seq != 4 {
			t.Errorf("got report %+v, error %v", report, err)
		}
		entries[4].Actor = "mallory"
	}
	entries[3].Actor = "mallory" // only the broker's entry proves a restore
	if report, err := VerifyMesh(t.Context(), newLog(testMesh, entries, head), testMesh); err == nil || len(report.Restores) != 0 {
		t.Errorf("got report %+v, error %v", report, err)
	}
}
