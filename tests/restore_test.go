package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// operator runs the commands of docs/backup.md for a broker.
type operator struct {
	t      *testing.T
	s      *server
	places *strings.Replacer
	path   string
}

func newOperator(t *testing.T, s *server) *operator {
	t.Helper()
	return &operator{t: t, s: s, path: commands.Dir + ":" + pgtest.Tools(t) + ":" + os.Getenv("PATH"),
		places: strings.NewReplacer("/etc/caddy/Caddyfile", s.Config, "/var/backups", t.TempDir())}
}

// run runs the block that begins with a command. Each of its commands must succeed.
func (o *operator) run(command string) string {
	o.t.Helper()
	out, err := o.try(command)
	if err != nil {
		o.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

func (o *operator) try(command string) (string, error) {
	o.t.Helper()
	cmd := exec.Command("sh", "-ec", o.places.Replace(takeBlock(o.t, "docs/backup.md", command)))
	cmd.Dir, cmd.Env = o.s.Home, append(slices.Clone(o.s.Env), "PATH="+o.path)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestRestore restores an older state with the commands of docs/backup.md, while the members'
// daemons keep their own state.
func TestRestore(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		o := newOperator(t, s)
		restoreOlderState(t, s, func() { o.run("caddy claudemesh backup ") }, func() {
			o.run("caddy claudemesh restore ")
			// The previous database is kept beside the new one, undamaged.
			aside, err := filepath.Glob(s.sqlitePath() + ".replaced-*")
			if err != nil || len(aside) == 0 {
				t.Fatalf("%v, %v", aside, err)
			}
			if out, code := s.RunCaddy("claudemesh", "audit", "verify", "--sqlite", aside[0]); code != 0 || !strings.Contains(out, "chain intact") {
				t.Errorf("the database that was set aside: %d\n%s", code, out)
			}
		})
		if out, err := o.try("caddy claudemesh restore "); err == nil || !strings.Contains(out, "another broker is using this database") {
			t.Errorf("restored below a running broker: %v\n%s", err, out)
		}
		if out, err := o.try("caddy claudemesh backup "); err == nil || !strings.Contains(out, "name a new file") {
			t.Errorf("a backup overwrites another: %v\n%s", err, out)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, "DATABASE_URL="+pgtest.DSN(t))
		o := newOperator(t, s)
		restoreOlderState(t, s, func() { o.run("pg_dump ") }, func() { o.run("psql \"$DATABASE_URL\"") })
		if out, err := o.try("caddy claudemesh restored "); err == nil || !strings.Contains(out, "another broker is using this database") {
			t.Errorf("recorded a restore below a running broker: %v\n%s", err, out)
		}
		for _, command := range []string{"caddy claudemesh backup ", "caddy claudemesh restore "} {
			if out, err := o.try(command); err == nil || !strings.Contains(out, "is not a SQLite database; use pg_") {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
		}
	})
}

func restoreOlderState(t *testing.T, s *server, backUp, restore func()) {
	alice, bob, carol, dave := newPatient(t, s), newPatient(t, s), newPatient(t, s), newPatient(t, s)
	eve, frank, grace := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	carol.must("join", alice.invite("--role", "admin"), "--name", "carol")
	dave.must("join", alice.invite(), "--name", "dave")
	eve.must("join", alice.invite(), "--name", "eve")
	frank.must("join", alice.invite(), "--name", "frank")
	grace.must("join", alice.invite(), "--name", "grace") // she is away all the time
	for _, p := range []*patient{alice, bob, dave} {
		p.must("daemon", "up")
		p.awaitConnection(true)
	}
	send := func(from *patient, to, text string) (id string) {
		t.Helper()
		return parse(t, from.must("send", to, text, "--no-wait", "--json")).str("clientMessageId")
	}
	alice.awaitStatus(send(alice, "bob", "1 before"), "delivered")
	waiting := send(alice, "carol", "1 waits in the backup")
	alice.awaitStatus(waiting, "queued")

	backUp()
	// The broker continues, and clients see messages that the backup lacks.
	carol.must("daemon", "up")
	alice.awaitStatus(waiting, "delivered")
	arrived := send(alice, "bob", "2 after the backup")
	alice.awaitStatus(arrived, "delivered")
	bob.awaitStatus(send(bob, "alice", "1 after the backup"), "delivered")
	late := dave.session("late") // a session that the backup doesn't know
	lost := newPerson(t, s)
	lost.must("join", alice.invite(), "--name", "lost")
	alice.must("remove", "eve", "--yes")
	eve.fails(1, "", "peers")
	frank.must("peers")
	seen := auditRows(carol)
	// The broker alone has these messages.
	byDaemon, _, _ := strings.Cut(alice.must("send", "grace", "lost", "--no-wait"), " ")
	alice.awaitStatus(byDaemon, "queued")
	byFrank, _, _ := strings.Cut(frank.must("send", "grace", "lost"), " ")
	waits := map[string]*terminal{"the broker has the message": alice.terminal("send", "grace", "lost", "--wait", "delivered", "--timeout", "1h"),
		"accepted for grace": alice.terminal("send", "grace", "lost", "--wait", "read", "--timeout", "1h")}
	for says, command := range waits {
		command.awaits(says)
	}
	s.Kill()
	for _, p := range []*patient{alice, bob, carol} {
		p.awaitConnection(false)
	}
	// These stay in the outboxes, and are sent to the restored broker.
	kept := []string{send(alice, "bob", "3 while it is away"), send(alice, "carol", "2 while it is away")}
	back := send(bob, "alice", "2 while it is away")

	restore()
	s.Start()
	for _, p := range []*patient{alice, bob, carol} {
		p.awaitConnection(true)
	}
	alice.awaitStatus(kept[0], "delivered")
	alice.awaitStatus(kept[1], "delivered")
	bob.awaitStatus(back, "delivered")
	// No status claims that the broker still has what it has lost, or that what has arrived is lost.
	const forgotten = "the broker no longer knows this message"
	alice.awaitStatus(byDaemon, "forgotten")
	if out := alice.must("status", byDaemon); !strings.Contains(out, forgotten) || !strings.Contains(out, "grace") {
		t.Errorf("status of a message that is lost: %s", out)
	}
	if status := parse(t, alice.must("status", arrived, "--json")); status.str("state") != "delivered" || status["delivered"] != true {
		t.Errorf("status of a message that has arrived: %s", status)
	}
	for _, command := range waits {
		command.awaits(forgotten)
		command.ends(1)
	}
	alice.awaitStatus(send(alice, "bob", "4 afterwards"), "delivered")
	alice.awaitStatus(send(alice, "carol", "3 afterwards"), "delivered")
	bob.awaitStatus(send(bob, "alice", "3 afterwards"), "delivered")
	await.Until(t, "the late session is back", func() bool {
		return slices.ContainsFunc(alice.list("peers", "--json"), func(row frame) bool { return row.str("pubkey") == late.key && row["online"] != false })
	})
	alice.awaitStatus(send(alice, late.key, "to the late session"), "delivered")
	await.Until(t, "the late session reads", func() bool { return late.reads("to the late session") })
	// The broker has delivered once more what waited in the backup, so nothing waits.
	await.Until(t, "nothing waits for carol", func() bool {
		out, code := ask(s, "queue", "team", "--json")
		return code == 0 && strings.Contains(out, `"deliveries":0`)
	})
	for p, want := range map[*patient][]string{
		alice: {"1 after the backup", "2 while it is away", "3 afterwards"},
		bob:   {"1 before", "2 after the backup", "3 while it is away", "4 afterwards"},
		carol: {"1 waits in the backup", "2 while it is away", "3 afterwards"},
	} {
		var got []string
		for line := range strings.Lines(p.must("inbox", "--all", "--json")) {
			got = append(got, parse(t, line).str("body"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("inbox: %q, want %q", got, want)
		}
	}
	lost.fails(1, "", "peers") // it joined after the backup, so it is not a member now
	eve.must("peers")          // she was removed after the backup, so she is one again

	// The audit log shows the break, to members and to the operator.
	rows := auditRows(alice)
	i := slices.IndexFunc(rows, func(row frame) bool { return row.str("kind") == "log_restored" })
	if i < 0 || rows[i].str("actor") != "broker" {
		t.Fatalf("the audit log has no restore: %v", rows)
	}
	if i >= len(seen) || rows[i-1].str("hash") != seen[i-1].str("hash") || rows[i].str("hash") == seen[i].str("hash") {
		t.Errorf("the restored log of %d entries does not go on from within the %d that were seen", i, len(seen))
	}
	if out := alice.must("audit", "--kind", "log_restored"); !strings.Contains(out, "the broker was restored from a backup; what it did after entry ") {
		t.Errorf("audit: %s", out)
	}
	// A client that has kept a checkpoint of what is gone hears once that this was the operator's doing.
	const says = "note: mesh team: the broker's operator has restored a backup"
	if _, errOut, code := frank.run("peers"); code != 0 || !strings.Contains(errOut, says) {
		t.Errorf("frank, at the connect: exit code %d\n%s", code, errOut)
	}
	for name, p := range map[string]*person{"frank": frank, "carol": carol.person} {
		if _, errOut, code := p.run("peers"); code != 0 || strings.Contains(errOut, "mesh team: ") {
			t.Errorf("%s, later: exit code %d\n%s", name, code, errOut)
		}
	}
	if status := parse(t, frank.must("status", byFrank, "--json")); status.str("state") != "forgotten" || status["delivered"] != false || !strings.HasSuffix(status.str("messageId"), byFrank) {
		t.Errorf("status of a message that frank sent himself: %s", status)
	}
	if out := frank.must("status", byFrank); !strings.Contains(out, forgotten) || !strings.Contains(out, "grace") {
		t.Errorf("status of a message that frank sent himself: %s", out)
	}
	out := newOperator(t, s).run("caddy claudemesh audit verify ")
	if !strings.Contains(out, "chain intact") || !strings.Contains(out, "restored from a backup at ") {
		t.Errorf("audit verify: %s", out)
	}
}

// auditRows returns the whole audit log, oldest entry first.
func auditRows(p *patient) []frame {
	p.t.Helper()
	return p.list("audit", "--limit", "1000", "--json")
}
