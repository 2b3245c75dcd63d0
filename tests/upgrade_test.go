package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// TestRollingUpgrade runs the newest build that knows only the schema before the present one beside
// this build, on one Postgres: they take over from each other, in both directions if the newest migration allows that,
// and no message is lost. Then a node of a cluster waits for the older build to stop, and the older build joins
// the cluster.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	older, newest := olderCommands(t)
	pg := pgtest.Start(t)
	old := &server{harness.NewBroker(t, older, "DATABASE_URL="+pg.DSN())}
	next := newServer(t, "DATABASE_URL="+pg.DSN())

	old.Start()
	m := newTeam(t, old)
	bob, session := m.join(t, "bob"), newKeys()
	bob.session(t, session).leave()
	alice := m.owner.daemon(t)
	sent := 0
	send := func(from *v1Client, n int) {
		t.Helper()
		for range n {
			from.send(session.hex, fmt.Sprint("message ", sent))
			sent++
		}
	}
	send(alice, 2)

	next.Launch()
	notReady(t, next, "storage_in_use")
	if newest.oldest < newest.version {
		await.Until(t, "the newer build has changed the schema", func() bool {
			out, code := next.RunCaddy("claudemesh", "migrate", "--database", pg.DSN())
			return code == 0 && strings.Contains(out, "up to date")
		})
	}
	send(alice, 2) // the older build goes on
	old.Stop()
	next.AwaitReady()
	send(m.at(next).owner.daemon(t), 2)

	old.Launch()
	notReady(t, old, "storage_in_use", "storage_failed")
	if newest.oldest < newest.version {
		next.Stop()
		old.AwaitReady()
		send(m.owner.daemon(t), 2)
		next.Launch()
	}
	old.Stop()
	next.AwaitReady()
	c := awaitSession(t, bob.at(next), session)
	for i, got := range c.texts(sent) {
		if want := fmt.Sprint("message ", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	next.Stop()

	if newest.oldest == newest.version {
		return
	}
	old.Start()
	node := node(t, pg)
	node.Launch()
	notReady(t, node, "storage_in_use")
	await.Until(t, "the log says what to do with the older build", func() bool {
		return strings.Contains(node.Log(), "add a cluster block to its configuration, or stop it")
	})
	old.Stop()
	node.AwaitReady()
	old.Launch()
	notReady(t, old, "storage_in_use")
	m.at(node).owner.daemon(t).sync()
	old.Stop()
	mixedCluster(t, pg, m, old, next, node)
}

// mixedCluster makes the older build a node beside one of this build, which has the mesh: each passes sockets on to
// the other, and the mesh moves to the older one and back. Another broker of this build waits for the older node's address.
func mixedCluster(t *testing.T, pg *pgtest.Server, m *team, old, other, next *server) {
	t.Helper()
	address := "127.0.0.1:" + strconv.Itoa(freePort(t))
	old.JoinCluster(address)
	old.Start()
	for _, give := range []*server{next, old} {
		if out, code := operate(next, pg, "drain", "--node", nodeOf(t, pg, give).address); code != 0 {
			t.Fatalf("drain: exit %d\n%s", code, out)
		}
		for _, edge := range []*server{old, next} {
			m.at(edge).owner.daemon(t).sync()
		}
		if owner, _ := ownerOf(t, pg, m, old, next); owner == give {
			t.Error("the node that drains has the mesh")
		}
		if out, code := operate(next, pg, "drain", "--undo", "--node", nodeOf(t, pg, give).address); code != 0 {
			t.Fatalf("undo: exit %d\n%s", code, out)
		}
	}
	other.JoinCluster(address)
	other.Launch()
	notReady(t, other, "cluster_address")
	if out, code := operate(next, pg, "nodes"); code != 0 || !strings.Contains(out, fmt.Sprintf("Process %d on host ", other.PID())) {
		t.Errorf("nodes: exit %d\n%s", code, out)
	}
	if out, code := operate(old, pg, "nodes"); code != 0 || !strings.Contains(out, address) {
		t.Errorf("nodes of the older build: exit %d\n%s", code, out)
	}
}

// step is a migration: its version, and the oldest version that a program must know to work with it.
type step struct{ version, oldest int }

// olderCommands builds the broker of the commit before the newest migration of Postgres.
func olderCommands(t *testing.T) (harness.Commands, step) {
	t.Helper()
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", commands.Repo}, args...)...).Output()
		if err != nil {
			t.Skipf("git %s: %v; the test needs the repository's history", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	const migrations = "storage/postgres/migrations"
	files, err := filepath.Glob(filepath.Join(commands.Repo, migrations, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	file := slices.Max(files)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var newest step
	newest.version, _ = strconv.Atoi(filepath.Base(file)[:3])
	newest.oldest = newest.version
	if oldest := regexp.MustCompile(`(?m)^-- oldest: (\d+)$`).FindSubmatch(text); oldest != nil {
		newest.oldest, _ = strconv.Atoi(string(oldest[1]))
	}
	added := git("log", "--diff-filter=A", "--format=%H", "-1", "--", filepath.Join(migrations, filepath.Base(file)))
	if added == "" {
		t.Skip("the newest migration is not committed yet")
	}
	before := git("rev-parse", "--verify", added+"^") // a shallow clone does not have it
	older := commands
	older.Repo = harness.ShortTempDir(t)
	older.Dir = filepath.Join(older.Repo, "bin")
	older.Caddy = filepath.Join(older.Dir, "caddy")
	script := `git -C "$1" archive "$2" | tar -x -C "$3" && make --no-print-directory -C "$3" build PROGRAMS=caddy VERSION=older`
	build := exec.Command("sh", "-c", script, "sh", commands.Repo, before, older.Repo)
	build.Env = harness.MakeEnv()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the older broker: %v\n%s", err, out)
	}
	return older, newest
}
