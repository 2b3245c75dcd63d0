package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// prunedLog is a log whose oldest entries the broker has deleted.
type prunedLog []wire.AuditRow

// Audit answers like a broker.
func (l prunedLog) Audit(_ context.Context, q wire.AuditQuery) (page []wire.AuditRow, err error) {
	if q.Last > 0 {
		q.After, q.Limit = l[len(l)-1].Seq-q.Last, q.Last
	}
	for _, r := range l {
		if r.Seq > q.After && int64(len(page)) < q.Limit {
			page = append(page, r)
		}
	}
	return page, nil
}

// TestAuditOfPrunedLog checks that audit shows the entries that are left, each once, if the broker
// has deleted the older ones.
func TestAuditOfPrunedLog(t *testing.T) {
	t.Parallel()
	meshID, head := wire.ID{1}, audit.Head{}
	var rows prunedLog
	for i := range 1200 {
		var e audit.Entry
		e, head = audit.Extend(head, audit.NewEvent(meshID, time.UnixMilli(int64(i)), "alice", audit.MeshCreatedDetail{Slug: "s"}))
		rows = append(rows, audit.Row(e))
	}
	for _, tc := range []struct {
		name         string
		deleted      int
		flags        auditFlags
		first, last  int64 // 0: no entries
		everySeventh bool
	}{
		{"whole log, all", 0, auditFlags{limit: 2000}, 1, 1200, false},
		{"fewer than asked for", 1000, auditFlags{limit: 500}, 1001, 1200, false},
		{"more than a page, then the deleted ones", 400, auditFlags{limit: 2000}, 401, 1200, false},
		{"with a filter", 1000, auditFlags{limit: 50, kinds: []string{"x"}}, 1001, 1200, true},
		{"before an entry that is left", 1000, auditFlags{limit: 50, before: 1011}, 1001, 1010, false},
		{"before the first that is left", 1000, auditFlags{limit: 50, before: 1001}, 0, 0, false},
		{"before a deleted one", 1000, auditFlags{limit: 50, before: 900}, 0, 0, false},
		{"before the first", 0, auditFlags{limit: 50, before: 1}, 0, 0, false},
	} {
		log := &auditLog{meshID: meshID, signed: make(map[int64]signedHead)}
		keep := func(r *wire.AuditRow) bool { return !tc.everySeventh || r.Seq%7 == 0 }
		got, err := newestEntries(t.Context(), rows[tc.deleted:], log, &tc.flags, keep)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var want []int64
		for seq := tc.first; seq > 0 && seq <= tc.last; seq++ {
			if keep(&rows[seq-1]) {
				want = append(want, seq)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %d entries, want %d", tc.name, len(got), len(want))
			continue
		}
		for i := range got {
			if got[i].Seq != want[i] {
				t.Errorf("%s: entry %d of the list is number %d, want %d", tc.name, i, got[i].Seq, want[i])
				break
			}
		}
	}
}

// fullDisk is a writer that fails.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestVerifyExportMustBePrinted checks that audit verify --offline doesn't succeed if nobody can see
// its verdict.
func TestVerifyExportMustBePrinted(t *testing.T) {
	t.Parallel()
	var export strings.Builder
	e, _ := audit.Extend(audit.Head{}, audit.NewEvent(wire.ID{1}, time.UnixMilli(1), "alice", audit.MeshCreatedDetail{Slug: "s"}))
	if err := audit.NewExporter(&export).Entry(e); err != nil {
		t.Fatal(err)
	}
	dir := peer.Dir(t.TempDir())
	if err := (&app{dir: dir, out: io.Discard, err: io.Discard}).verifyExport(strings.NewReader(export.String())); err != nil {
		t.Errorf("with a disk: %v", err)
	}
	if err := (&app{dir: dir, out: fullDisk{}, err: io.Discard}).verifyExport(strings.NewReader(export.String())); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("with a full disk: %v", err)
	}
}
