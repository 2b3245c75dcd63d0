package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// reference runs commands of the reference part of docs/operating.md on the machine of a broker, whose
// Caddyfile is in the current directory.
type reference struct {
	t      *testing.T
	s      *server
	places *strings.Replacer
}

func newReference(t *testing.T, s *server, places ...string) *reference {
	t.Helper()
	if file := filepath.Join(s.Home, "Caddyfile"); file != s.Config {
		write(t, file, read(t, s.Config))
		s.Config = file
	}
	places = append(places, "/run/caddy/admin.sock", filepath.Join(s.Home, "admin.sock"), "/etc/caddy/Caddyfile", s.Config)
	return &reference{t, s, strings.NewReplacer(places...)}
}

func (r *reference) command(line string) *exec.Cmd {
	cmd := exec.Command("sh", "-ec", r.places.Replace(line))
	cmd.Dir, cmd.Env = r.s.Home, append(slices.Clone(r.s.Env), "PATH="+commands.Dir+":"+os.Getenv("PATH"))
	return cmd
}

// run runs a line. If the command asks, it is told y.
func (r *reference) run(line string, says ...string) {
	r.t.Helper()
	cmd := r.command(line)
	cmd.Stdin = strings.NewReader("y\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	for _, want := range says {
		if !strings.Contains(string(out), want) {
			r.t.Errorf("%s: %q is not in:\n%s", line, want, out)
		}
	}
}

// awaits runs a line that changes nothing until it succeeds: a storage counts as unreachable while a busy machine
// delays its answer.
func (r *reference) awaits(line string, says ...string) {
	r.t.Helper()
	var out []byte
	await.Until(r.t, "the broker is healthy", func() bool {
		var err error
		out, err = r.command(line).CombinedOutput()
		return err == nil && !slices.ContainsFunc(says, func(want string) bool { return !strings.Contains(string(out), want) })
	}, func() string { return string(out) })
}

// serves runs a line that brings the operator's page to a local port.
func (r *reference) serves(line string, port int) {
	r.t.Helper()
	page := startGroup(r.t, r.command("exec "+line))
	if got := page.line(); !strings.Contains(got, "The page is at ") {
		r.t.Errorf("%s: %s", line, got)
	}
	if status := get(r.t, "http://127.0.0.1:"+strconv.Itoa(port)+"/"); status != 200 {
		r.t.Errorf("%s: the page answers %d", line, status)
	}
	page.stop()
}

// TestReference runs the commands for a running broker.
func TestReference(t *testing.T) {
	t.Parallel()
	const page = "docs/operating.md"
	s := startServer(t)
	alice := newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob, carol := newPerson(t, s), newPatient(t, s)
	bob.must("join", alice.invite(), "--name", "bob")
	carol.must("join", alice.invite(), "--name", "carol")
	carol.must("daemon", "up")
	carol.awaitConnection(true)
	session := carol.session("web").key
	port := freePort(t)
	r := newReference(t, s, "<mesh>", "team", "kick <mesh> <name>", "kick team "+session, "remove <mesh> <name>", "remove team bob")
	r.awaits(takeBlock(t, page, "curl "), `"ready":true`, "caddy_claudemesh_")
	lines := map[string]string{ // what the answer contains
		"health": "READY", "status": "QUEUE DELIVERIES", "meshes": "team", "mesh ": "AUDIT HASH", "sessions": session, "members": "carol",
		"queue": "DELIVERIES", "kick": "web", "remove": "bob", "audit heads": "HASH",
	}
	for line := range strings.Lines(takeBlock(t, page, "caddy claudemesh health ")) {
		verb := strings.TrimPrefix(line, "caddy claudemesh ")
		if strings.HasPrefix(verb, "page") {
			// Other tests may use the default port.
			r.serves(strings.Replace(line, "page", "page --listen 127.0.0.1:"+strconv.Itoa(port), 1), port)
			continue
		}
		want := ""
		for begins, says := range lines {
			if strings.HasPrefix(verb, begins) {
				want = says
			}
		}
		if want == "" {
			t.Errorf("the test does not know what %q answers", line)
		}
		if strings.HasPrefix(verb, "health") {
			r.awaits(line, want)
			continue
		}
		r.run(line, want)
	}
	// ssh is a program that runs the command on this machine.
	bin := t.TempDir()
	script := `#!/bin/sh
[ "$1 $2 $4" = "-t -L mesh.example.com" ] && [ "$3" = 7990:127.0.0.1:7990 ] && shift 4 && exec "$@" --listen 127.0.0.1:` + strconv.Itoa(port)
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r.serves("env PATH="+bin+":$PATH "+takeBlock(t, page, "ssh "), port)
}

// TestStorageReference runs the commands for the storage: on a broker with SQLite while it runs and while it
// does not, and on the nodes of a cluster.
func TestStorageReference(t *testing.T) {
	t.Parallel()
	s, fresh := startServer(t), newServer(t)
	alice := newPerson(t, s)
	alice.must("create", "team")
	pg, node, other := startNodes(t)
	newTeam(t, node)
	file := filepath.Join(t.TempDir(), "backup.db")
	onSQLite, onNode := newReference(t, s, "<file>", file), newReference(t, node)
	moves := newReference(t, s)
	block := takeBlock(t, "docs/operating.md", "caddy claudemesh migrate ")
	line := func(verb string) string {
		t.Helper()
		for line := range strings.Lines(block) {
			if strings.HasPrefix(line, "caddy claudemesh "+verb+" ") {
				block = strings.Replace(block, line, "", 1)
				return line
			}
		}
		t.Fatalf("docs/operating.md has no command %s", verb)
		return ""
	}
	onSQLite.run(line("storage"), "SQLite")
	onSQLite.run(line("audit verify"), "chain intact")
	onSQLite.run(line("audit export"), "mesh_created")
	onSQLite.run(line("backup"), file)
	onNode.run(line("nodes"), nodeOf(t, pg, node).address, nodeOf(t, pg, other).address)
	// Usually, a machine has one node.
	drained := nodeOf(t, pg, node).address
	onNode.run(strings.Replace(line("drain"), "drain", "drain --node "+drained, 1), drained)
	onNode.run(line("rebalance"))
	s.Stop()
	onSQLite.run(line("migrate"))
	newReference(t, fresh, "<file>", file).run(line("restore"), "restored 1 mesh")
	onSQLite.run(line("restored"), "the restore is in the audit logs")
	moves.s.Env = append(moves.s.Env, "DATABASE_URL="+pgtest.DSN(t))
	moves.run(line("move"), "each was compared")
	if block != "" {
		t.Errorf("the test does not run these commands of docs/operating.md:\n%s", block)
	}
}

// TestBenchReference runs the benchmarks that docs/operating.md names, and makes them small.
func TestBenchReference(t *testing.T) {
	t.Parallel()
	s := startServer(t, "SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "WORK_PER_MIN=1000000000", "WORK_BURST=1000000000",
		"NEW_SESSIONS_PER_HOUR=1000000000")
	alice := newPerson(t, s)
	alice.must("create", "team")
	small := map[string]string{
		"throughput": "--messages 20 --pairs 2", "rate": "--duration 1s --pairs 2", "burst": "--messages 2 --peers 3", "fanout": "--messages 2 --recipients 3",
		"idle": "--sessions 3 --duration 1s", "storm": "--sessions 8 --pairs 2", "soak": "--duration 1s --interval 1s --pairs 2", "compare": "",
	}
	dir := t.TempDir()
	run := func(line string) {
		t.Helper()
		cmd := exec.Command("sh", "-ec", line)
		cmd.Dir, cmd.Env = dir, append(slices.Clone(alice.env), "PATH="+commands.Dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	for line := range strings.Lines(takeBlock(t, "docs/operating.md", "claudemesh bench ")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		verb := strings.Fields(line)[2]
		more, ok := small[verb]
		if !ok {
			t.Errorf("the test has no small form of %s", line)
		}
		run(line + " " + more)
		if verb == "rate" { // two results for compare
			run(line + " " + more + " --json >a.json")
			run(line + " " + more + " --json >b.json")
		}
	}
}

// TestCaddyfilesOfPages has Caddy validate each Caddyfile on the pages, and checks its format.
func TestCaddyfilesOfPages(t *testing.T) {
	t.Parallel()
	found := 0
	for _, page := range pages(t) {
		for i, b := range blocksOf(t, page, "caddyfile") {
			found++
			file := filepath.Join(t.TempDir(), "Caddyfile")
			write(t, file, take(page, b))
			for _, args := range [][]string{{"fmt", "--diff", file}, {"validate", "--config", file, "--adapter", "caddyfile"}} {
				cmd := exec.Command(commands.Caddy, args...)
				cmd.Env = append(homeEnv(t.TempDir()), "DATABASE_URL=postgres://user@localhost/name", "CLAUDEMESH_CREATE_TOKEN=token", "NODE_ADDRESS=10.0.0.1")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s, Caddyfile %d: caddy %s: %v\n%s", page, i+1, args[0], err, out)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("the pages have %d Caddyfiles", found)
	}
}
