package tests

import (
	"context"
	"database/sql"
	"fmt"
	"os"
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

// witnessed is a mesh whose owner and whose member have kept checkpoints of its audit log.
type witnessed struct {
	*server
	alice, bob *person
	meshID     wire.ID
}

func newWitnessed(t *testing.T) *witnessed {
	t.Helper()
	s := startServer(t)
	w := &witnessed{server: s, alice: newPerson(t, s), bob: newPerson(t, s)}
	w.alice.must("create", "team")
	w.bob.must("join", w.alice.invite(), "--name", "bob")
	var err error
	if w.meshID, err = wire.ParseID(w.alice.config().str("meshId")); err != nil {
		t.Fatal(err)
	}
	w.talk(t, 4)
	out := w.alice.must("audit", "verify")
	if !strings.Contains(out, "The audit log is intact") {
		t.Errorf("audit verify: %s", out)
	}
	w.bob.must("peers")
	return w
}

// talk adds entries to the audit log.
func (w *witnessed) talk(t *testing.T, messages int) {
	t.Helper()
	before := len(w.alice.list("audit", "--json", "--kind", "message_routed"))
	for i := range messages {
		w.alice.must("send", "bob", fmt.Sprint("message ", i))
	}
	await.Until(t, "the messages are in the audit log", func() bool {
		return len(w.alice.list("audit", "--json", "--kind", "message_routed")) == before+messages
	})
}

// tamper changes the database of the stopped broker.
func (w *witnessed) tamper(t *testing.T, change func(db *sql.DB) error) {
	t.Helper()
	w.Stop()
	db, err := sql.Open("sqlite", "file:"+w.sqlitePath())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := change(db); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	w.Start()
}

// rewrite changes entries, of which the first is number 0, and computes all hashes anew.
func rewrite(db *sql.DB, meshID wire.ID, change func(i int, e *audit.Event)) error {
	rows, err := db.Query(`SELECT seq, at, kind, actor, detail, prev FROM audit_entries WHERE mesh_id = ? ORDER BY seq`, meshID[:])
	if err != nil {
		return err
	}
	defer rows.Close()
	var head audit.Head
	var entries []audit.Entry
	for rows.Next() {
		e := audit.Event{MeshID: meshID}
		var seq, at int64
		var prev []byte
		if err := rows.Scan(&seq, &at, &e.Kind, &e.Actor, &e.Detail, &prev); err != nil {
			return err
		}
		if len(entries) == 0 {
			head.Seq = seq - 1
			copy(head.Hash[:], prev)
		}
		e.At = time.UnixMilli(at)
		change(len(entries), &e)
		var entry audit.Entry
		entry, head = audit.Extend(head, e)
		entries = append(entries, entry)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := db.Exec(`UPDATE audit_entries SET at = ?, actor = ?, prev = ?, hash = ? WHERE mesh_id = ? AND seq = ?`,
			e.At.UnixMilli(), e.Actor, e.Prev[:], e.Hash[:], meshID[:], e.Seq); err != nil {
			return err
		}
	}
	_, err = db.Exec(`UPDATE audit_heads SET hash = ? WHERE mesh_id = ?`, head.Hash[:], meshID[:])
	return err
}

// blame changes who did what in the second entry.
func blame(i int, e *audit.Event) {
	if i == 1 {
		e.Actor = audit.Broker
	}
}

// truncate removes the newest entries as if they had never existed.
func truncate(db *sql.DB, meshID wire.ID, n int64) error {
	if _, err := db.Exec(`DELETE FROM audit_entries WHERE mesh_id = ?1 AND seq > (SELECT seq FROM audit_heads WHERE mesh_id = ?1) - ?2`, meshID[:], n); err != nil {
		return err
	}
	_, err := db.Exec(`UPDATE audit_heads SET seq = seq - ?2,
		hash = (SELECT e.hash FROM audit_entries e WHERE e.mesh_id = ?1 ORDER BY e.seq DESC LIMIT 1) WHERE mesh_id = ?1`, meshID[:], n)
	return err
}

// TestRewrittenAuditLog plays an operator who changes an entry and computes all hashes anew. The
// chain is in order, but no longer the one that was signed.
func TestRewrittenAuditLog(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	export := filepath.Join(t.TempDir(), "audit.jsonl")
	write(t, export, w.alice.must("audit", "export"))
	w.tamper(t, func(db *sql.DB) error { return rewrite(db, w.meshID, blame) })
	if out, code := w.RunCaddy("claudemesh", "audit", "verify", "--sqlite", w.sqlitePath()); code != 0 {
		t.Errorf("the forged chain should be one that only a checkpoint contradicts: %s", out)
	}

	const says = "the broker has rewritten the audit log"
	for name, p := range map[string]*person{"owner": w.alice, "member": w.bob} {
		if _, errOut, code := p.run("peers"); code != 0 || !strings.Contains(errOut, "warning: mesh team: "+says) {
			t.Errorf("%s, at the connect: exit code %d\n%s", name, code, errOut)
		}
		out, _, code := p.run("audit", "verify")
		origin := "claudemesh/" + w.meshID.String() + "\n"
		if code != 1 || !strings.Contains(out, says) || strings.Count(out, origin) != 2 || strings.Count(out, "— claudemesh/") != 2 {
			t.Errorf("%s, audit verify: exit code %d, without the two notes:\n%s", name, code, out)
		}
		if out, _, code := p.run("doctor"); code != 1 || !strings.Contains(out, says) || strings.Count(out, origin) != 2 {
			t.Errorf("%s, doctor: exit code %d\n%s", name, code, out)
		}
	}
	if out := w.alice.must("audit", "verify", "--offline", export); !strings.Contains(out, "are intact, and the broker has signed them") {
		t.Errorf("the genuine export: %s", out)
	}
	forged, _, _ := w.alice.run("audit", "export")
	write(t, export, forged)
	if out, _, code := w.alice.run("audit", "verify", "--offline", export); code != 1 || !strings.Contains(out, "rewritten") {
		t.Errorf("the forged export: exit code %d\n%s", code, out)
	}

	// The doubt stays until the user accepts the log.
	w.talk(t, 1)
	if out, _, code := w.alice.run("audit", "verify"); code != 1 || !strings.Contains(out, says) {
		t.Errorf("later: exit code %d\n%s", code, out)
	}
	w.alice.must("audit", "accept")
	if _, errOut, code := w.alice.run("peers"); code != 0 || strings.Contains(errOut, "mesh team: ") {
		t.Errorf("accepted: exit code %d\n%s", code, errOut)
	}
	w.alice.must("audit", "verify")
}

// TestTruncatedAuditLog plays an operator who deletes the newest entries.
func TestTruncatedAuditLog(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	w.tamper(t, func(db *sql.DB) error { return truncate(db, w.meshID, 2) })
	const says = "the audit log was cut off or set back"
	for name, p := range map[string]*person{"owner": w.alice, "member": w.bob} {
		if _, errOut, code := p.run("peers"); code != 0 || !strings.Contains(errOut, says) {
			t.Errorf("%s, at the connect: exit code %d\n%s", name, code, errOut)
		}
	}
	w.talk(t, 5) // now the log is longer than before, and begins differently
	origin := "claudemesh/" + w.meshID.String() + "\n"
	if out, _, code := w.alice.run("audit", "verify"); code != 1 || !strings.Contains(out, says) || strings.Count(out, origin) != 2 || strings.Count(out, "— claudemesh/") != 2 {
		t.Errorf("audit verify: exit code %d, without the two notes:\n%s", code, out)
	}
	carol := newPerson(t, w.server)
	carol.must("join", w.alice.invite(), "--name", "carol")
	if _, errOut, code := carol.run("peers"); code != 0 || strings.Contains(errOut, "mesh team: ") {
		t.Errorf("a newcomer, who has kept nothing: exit code %d\n%s", code, errOut)
	}
}

// TestRestoredAuditLog plays an operator who restores a backup, and says so.
func TestRestoredAuditLog(t *testing.T) {
	t.Parallel()
	w := newWitnessed(t)
	w.Stop()
	backup := read(t, w.sqlitePath())
	w.Start()
	w.talk(t, 3)
	w.bob.must("peers")
	w.Stop()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(w.sqlitePath() + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	write(t, w.sqlitePath(), backup)
	announce(t, w.sqlitePath())
	w.Start()
	const says = "the broker's operator has restored a backup"
	for name, p := range map[string]*person{"owner": w.alice, "member": w.bob} {
		if _, errOut, code := p.run("peers"); code != 0 || !strings.Contains(errOut, "note: mesh team: "+says) {
			t.Errorf("%s, at the connect: exit code %d\n%s", name, code, errOut)
		}
		if _, errOut, code := p.run("peers"); code != 0 || strings.Contains(errOut, "mesh team: ") {
			t.Errorf("%s, later: exit code %d\n%s", name, code, errOut)
		}
		if out, _, _ := p.run("doctor"); !strings.Contains(out, says) { // another check may fail on a slow disk
			t.Errorf("%s, doctor: %s", name, out)
		}
	}
	w.alice.must("audit", "verify")
	if out := w.alice.must("audit"); !strings.Contains(out, "the broker was restored from a backup") {
		t.Errorf("the log does not show the break: %s", out)
	}
	// The announcement of one restore does not explain another one.
	w.tamper(t, func(db *sql.DB) error { return truncate(db, w.meshID, 1) })
	if _, errOut, _ := w.alice.run("peers"); !strings.Contains(errOut, "the audit log was cut off or set back") {
		t.Errorf("cut off after the restore: %s", errOut)
	}
}

// announce records a restore in a database that no broker uses.
func announce(t *testing.T, path string) {
	t.Helper()
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = audit.AnnounceRestore(t.Context(), store, time.Now(), func(ctx context.Context, e audit.Entry) error {
		_, err := store.Commit(ctx, &journal.Batch{Audit: []audit.Entry{e}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
