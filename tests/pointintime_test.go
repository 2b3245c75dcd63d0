package tests

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// archived is a broker on a Postgres that archives its log, as docs/backup.md says.
type archived struct {
	*server
	t        testing.TB
	pg       *pgtest.Server
	operator *operator
	moment   string // to which it recovers
}

func newArchived(t *testing.T) *archived {
	t.Helper()
	pg := pgtest.Start(t, pgtest.Durable())
	s := startServer(t, "DATABASE_URL="+pg.DSN())
	a := &archived{server: s, t: t, pg: pg, operator: newOperator(t, s)}
	a.run("mkdir ")
	pg.Restart()
	a.run("pg_basebackup ") // what comes later is in the archive alone
	s.AwaitReady()
	return a
}

// run runs the block of the page on the machine of the database server.
func (a *archived) run(begins string) {
	a.t.Helper()
	places := strings.NewReplacer("/var/backups", a.pg.Dir(), "/var/lib/postgresql/recovered", a.recovered(), "2026-11-27 09:59:00+00", a.moment)
	a.pg.Run(places.Replace(takeBlock(a.t, "docs/backup.md", begins)))
}

func (a *archived) recovered() string { return a.pg.Dir() + "/recovered" }

// remember chooses the present moment.
func (a *archived) remember() { a.moment = a.pg.Run("psql -Atc 'SELECT clock_timestamp()'") }

// goBack makes a mistake and recovers to the moment. The broker must not run.
func (a *archived) goBack() {
	a.t.Helper()
	a.pg.Run("psql -c 'TRUNCATE claudemesh.meshes CASCADE'")
	a.pg.Stop()
	a.run("cp -a ")
	a.pg.Switch(a.recovered())
	a.run("until ")
	a.operator.run("caddy claudemesh restored ")
}

// TestPointInTime recovers a Postgres to a moment before a mistake.
func TestPointInTime(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	restoreOlderState(t, a.server, a.remember, a.goBack)
}

// TestPointInTimeUnderLoad recovers to a moment in the midst of messages, and the broker ends in the
// midst of them, too.
func TestPointInTimeUnderLoad(t *testing.T) {
	t.Parallel()
	if os.Getenv("CLAUDEMESH_TEST_LONG") == "" {
		t.Skip("CLAUDEMESH_TEST_LONG is not set")
	}
	a := newArchived(t)
	alice, bob := newPatient(t, a.server), newPatient(t, a.server)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	for _, p := range []*patient{alice, bob} {
		p.must("daemon", "up")
		p.awaitConnection(true)
	}
	const messages, chosen, ends = 300, 100, 200
	var ids []string
	for i := range messages {
		ids = append(ids, parse(t, alice.must("send", "bob", strconv.Itoa(i), "--no-wait", "--json")).str("clientMessageId"))
		switch i {
		case chosen:
			a.remember()
		case ends:
			a.Kill()
		}
	}
	a.goBack()
	a.Start()
	alice.awaitStatus(ids[messages-1], "delivered")
	var inbox []int
	await.Until(t, "the last message is there", func() bool {
		inbox = nil
		for line := range strings.Lines(bob.must("inbox", "--all", "--limit", strconv.Itoa(2*messages), "--json")) {
			n, err := strconv.Atoi(parse(t, line).str("body"))
			if err != nil {
				t.Fatal(err)
			}
			inbox = append(inbox, n)
		}
		return slices.Contains(inbox, messages-1)
	})
	for i := 1; i < len(inbox); i++ {
		if inbox[i] <= inbox[i-1] {
			t.Errorf("message %d comes after message %d", inbox[i], inbox[i-1])
		}
	}
	t.Logf("%d of %d messages", len(inbox), messages)
	for i, id := range ids {
		if there := slices.Contains(inbox, i); !there && (i > ends || parse(t, alice.must("status", id, "--json")).str("state") == "delivered") {
			t.Errorf("message %d is lost", i)
		}
	}
}
