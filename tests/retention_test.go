package tests

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// TestAuditRetention: the broker deletes entries that are older than audit_retention. The rest is
// verified by the operator, and by clients that have kept a checkpoint of a deleted entry or of a
// later one. Everybody still notices when the rest is rewritten.
func TestAuditRetention(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	old := func(e *audit.Event) { e.At = e.At.Add(-48 * time.Hour) }
	w.tamper(t, func(db *sql.DB) error {
		return rewrite(db, w.meshID, func(_ int, e *audit.Event) { old(e) })
	})
	w.bob.must("audit", "accept") // what the test has made of the log
	w.Stop()
	deleted := w.appendEntry(t, old)
	w.Start()
	w.alice.must("audit", "accept")
	w.talk(t, 3)
	exported := func(args ...string) string {
		t.Helper()
		out, code := w.RunCaddy(append([]string{"claudemesh", "audit", "export", "--sqlite", w.sqlitePath()}, args...)...)
		if code != 0 {
			t.Fatalf("audit export %v: exit code %d\n%s", args, code, out)
		}
		return out
	}
	if out := exported(); !strings.HasPrefix(out, `{"type":"entry"`) || strings.Contains(exported("--since", "1d"), `"seq":1,`) {
		t.Errorf("before: %s", out)
	}

	w.Stop()
	w.Env = append(w.Env, "AUDIT_RETENTION_DAYS=1")
	w.Start()
	var rest string
	await.Until(t, "the old entries are deleted", func() bool {
		rest = exported()
		return strings.HasPrefix(rest, `{"type":"checkpoint"`)
	})
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	for name, export := range map[string]string{"operator": rest, "owner": w.alice.must("audit", "export")} {
		reports, err := audit.VerifyExport(strings.NewReader(export), func(wire.ID) (audit.Kept, error) { return audit.Kept{}, nil })
		if err != nil || len(reports) != 1 || reports[0].First != deleted+1 {
			t.Errorf("the export of the %s should begin with entry %d: %v\n%s", name, deleted+1, err, export)
		}
		write(t, file, export)
		if out := w.alice.must("audit", "verify", "--offline", file); !strings.Contains(out, "are intact, and the broker has signed them") {
			t.Errorf("the export of the %s: %s", name, out)
		}
	}
	if out, code := w.RunCaddy("claudemesh", "audit", "verify", "--sqlite", w.sqlitePath()); code != 0 {
		t.Errorf("audit verify of the operator: exit code %d\n%s", code, out)
	}
	for name, p := range map[string]*person{"owner": w.alice, "member": w.bob} {
		if _, errOut, code := p.run("peers"); code != 0 || strings.Contains(errOut, "mesh team: ") {
			t.Errorf("%s, at the connect: exit code %d\n%s", name, code, errOut)
		}
	}
	if out := w.alice.must("audit", "verify"); !strings.Contains(out, "The audit log is intact") {
		t.Errorf("audit verify: %s", out)
	}

	w.tamper(t, func(db *sql.DB) error { return rewrite(db, w.meshID, blame) })
	for name, p := range map[string]*person{"owner": w.alice, "member": w.bob} {
		if _, errOut, _ := p.run("peers"); !strings.Contains(errOut, "warning: mesh team: the broker has rewritten the audit log") {
			t.Errorf("%s, after the rest was rewritten: %s", name, errOut)
		}
	}
}

// appendEntry enters something that happened into the log of the stopped broker, and returns the
// entry's number.
func (w *witnessed) appendEntry(t *testing.T, change func(*audit.Event)) int64 {
	t.Helper()
	store, err := sqlite.Open(w.sqlitePath())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	head, err := store.AuditHead(t.Context(), w.meshID)
	if err != nil {
		t.Fatal(err)
	}
	event := audit.NewEvent(w.meshID, time.Now(), audit.Broker, audit.PeerLeftDetail{})
	change(&event)
	entry, head := audit.Extend(head, event)
	if _, err := store.Commit(t.Context(), &journal.Batch{Audit: []audit.Entry{entry}}); err != nil {
		t.Fatal(err)
	}
	return head.Seq
}
