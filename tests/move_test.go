package tests

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestMove moves a broker from SQLite to Postgres with the command of docs/backup.md, while
// the members' daemons keep running.
func TestMove(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob, carol := newPatient(t, s), newPatient(t, s), newPatient(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	carol.must("join", alice.invite(), "--name", "carol")
	for _, p := range []*patient{alice, bob} {
		p.must("daemon", "up")
		p.awaitConnection(true)
	}
	send := func(to, text string) string {
		t.Helper()
		return parse(t, alice.must("send", to, text, "--no-wait", "--json")).str("clientMessageId")
	}
	alice.awaitStatus(send("bob", "1 before"), "delivered")
	waiting := send("carol", "1 waits")
	alice.awaitStatus(waiting, "queued")
	entries := len(auditRows(alice))

	onSQLite := slices.Clone(s.Env)
	s.Env = append(s.Env, "DATABASE_URL="+pgtest.DSN(t))
	o := newOperator(t, s)
	if out, err := o.try("caddy claudemesh move "); err == nil || !strings.Contains(out, "stop the broker first") {
		t.Errorf("moved below a running broker: %v\n%s", err, out)
	}
	s.Stop()
	kept := send("bob", "2 while it is away")
	if out := o.run("caddy claudemesh move "); !strings.Contains(out, "1 mesh, ") || !strings.Contains(out, "each was compared") {
		t.Errorf("move: %s", out)
	}
	out, code := s.RunCaddy("claudemesh", "move", "--from", "sqlite", "--to", "postgres", "--json")
	out = out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
	var again struct{ Tables map[string]int64 }
	if err := json.Unmarshal([]byte(out), &again); err != nil || code != 0 || again.Tables["members"] != 3 {
		t.Errorf("move again: %d, %v\n%s", code, err, out)
	}
	for _, args := range [][]string{{}, {"--from", "postgres", "--to", "sqlite"}, {"--from", "sqlite", "--to", "postgres", "--sqlite", "none.db"}} {
		if out, code := s.RunCaddy(append([]string{"claudemesh", "move"}, args...)...); code == 0 {
			t.Errorf("%v: %s", args, out)
		}
	}
	s.Start()
	for _, p := range []*patient{alice, bob} {
		p.awaitConnection(true)
	}
	alice.awaitStatus(kept, "delivered")
	carol.must("daemon", "up")
	alice.awaitStatus(waiting, "delivered")
	alice.awaitStatus(send("bob", "3 afterwards"), "delivered")
	for p, want := range map[*patient][]string{bob: {"1 before", "2 while it is away", "3 afterwards"}, carol: {"1 waits"}} {
		var got []string
		for line := range strings.Lines(p.must("inbox", "--all", "--json")) {
			got = append(got, parse(t, line).str("body"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("inbox: %q, want %q", got, want)
		}
	}
	// The audit log is the same, and goes on: alice has seen it before.
	if rows := auditRows(alice); len(rows) <= entries {
		t.Errorf("%d entries, before the move %d", len(rows), entries)
	}
	if out, code := s.RunCaddy("claudemesh", "move", "--from", "sqlite", "--to", "postgres"); code == 0 || !strings.Contains(out, "stop the broker first") {
		t.Errorf("moved onto a running broker: %d\n%s", code, out)
	}
	s.Stop()
	if out, code := s.RunCaddy("claudemesh", "move", "--from", "sqlite", "--to", "postgres"); code == 0 || !strings.Contains(out, "already has meshes of its own") {
		t.Errorf("moved onto a database that has gone on: %d\n%s", code, out)
	}
	s.Env = onSQLite
	if out, code := s.RunCaddy("claudemesh", "audit", "verify", "--config", s.Config); code != 0 || !strings.Contains(out, "chain intact") {
		t.Errorf("the source: %d\n%s", code, out)
	}
}
