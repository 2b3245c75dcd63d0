package tests

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/doortest"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// TestSecondDatabase moves one of two groups of meshes to a second database with the commands of
// docs/capacity.md, while messages wait in both. One of the nodes has died before, so the copy has its row.
func TestSecondDatabase(t *testing.T) {
	t.Parallel()
	first, second := newFleet(t), newFleet(t)
	first.pg.Exec("CREATE ROLE claudemesh LOGIN PASSWORD 'secret'")
	first.pg.Exec("CREATE DATABASE claudemesh OWNER claudemesh")
	staying, moving := newName(t), newName(t)
	first.serve(staying, moving)
	first.start()
	groups := []*group{newGroup(t, staying), newGroup(t, moving)}
	erin := newPatient(t, moving.server)
	erin.must("join", groups[1].alice.invite(), "--name", "erin")
	for _, g := range groups {
		g.leaveWaiting()
	}

	first.owner(groups[1]).Kill()
	first.stop()
	for _, g := range groups {
		g.sendWhileAway()
	}
	places := strings.NewReplacer("10.0.0.5", first.address, "10.0.0.6", second.address, "/var/backups", t.TempDir())
	for _, command := range []string{"psql ", "pg_dump "} {
		first.run(command, places)
	}
	stale := *moving.leadsTo.Load()
	first.serve(staying)
	second.serve(moving)
	now := *moving.leadsTo.Load()
	moving.leadsTo.Store(&stale) // some clients learn the new address late
	first.start()
	second.start()
	if status, _ := moving.TryGet("/health"); status != 0 {
		t.Errorf("the first cluster answers under the name that has moved: %d", status)
	}
	copied := second.heads()
	moving.leadsTo.Store(&now)

	for _, g := range groups {
		g.goOn()
	}
	first.isContent(groups[0], groups[1])
	second.isContent(groups[1], groups[0])
	// Each mesh is used in one of the databases alone.
	one, two := first.heads(), second.heads()
	stays, moved := groups[0].id(), groups[1].id()
	if one[moved] != copied[moved] || two[stays] != copied[stays] || one[stays] <= copied[stays] || two[moved] <= copied[moved] {
		t.Errorf("sizes of the audit logs: first %v, second %v, in the copy %v", one, two, copied)
	}
	groups[1].strays(erin, staying, first)
}

// name is a host name that leads to a balancer. Clients know it alone.
type name struct {
	*server // for clients
	leadsTo atomic.Pointer[string]
}

func newName(t *testing.T) *name {
	t.Helper()
	n := &name{}
	nowhere := doortest.Nowhere(t)
	n.leadsTo.Store(&nowhere)
	door := doortest.Open(t, "127.0.0.1:0", doortest.PassTo(func() string { return *n.leadsTo.Load() }))
	_, port, _ := strings.Cut(door.Address, ":")
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	n.server = &server{&harness.Broker{Port: number}}
	return n
}

// fleet is a database with two nodes, and the balancer before them.
type fleet struct {
	t        *testing.T
	pg       *pgtest.Server
	address  string // of the database server
	dsn      string
	nodes    []*server
	balancer *server
}

// newFleet prepares a fleet. Its server has no database for it yet.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, pg: pgtest.Start(t)}
	server, err := url.Parse(f.pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	f.address = server.Host
	f.dsn = "postgres://claudemesh:secret@" + f.address + "/claudemesh"
	var addresses []string
	for range 2 {
		n := node(t, f.pg, "CREATE_MESHES=open")
		n.Env = append(n.Env, "DATABASE_URL="+f.dsn)
		f.nodes = append(f.nodes, n)
		addresses = append(addresses, n.Address())
	}
	f.balancer = newServer(t, "NODES="+strings.Join(addresses, " "))
	f.balancer.Config = filepath.Join(commands.Repo, "examples", "caddyfiles", "cluster-balancer.caddyfile")
	return f
}

// serve makes the balancer serve these names and no others, and lets them lead to it.
func (f *fleet) serve(names ...*name) {
	f.t.Helper()
	f.balancer.Stop()
	var addresses []string
	for _, n := range names {
		f.balancer.Port = freePort(f.t)
		address := f.balancer.Address()
		n.leadsTo.Store(&address)
		addresses = append(addresses, "http://"+address)
	}
	f.balancer.Env = append(f.balancer.Env, "BALANCER_ADDRESS="+strings.Join(addresses, " "))
	f.balancer.Launch()
}

func (f *fleet) start() {
	f.t.Helper()
	for _, n := range f.nodes {
		n.Start()
	}
	f.balancer.AwaitReady()
}

func (f *fleet) stop() {
	f.t.Helper()
	for _, n := range f.nodes {
		if n.Running() {
			n.Stop()
		}
	}
}

// query returns the rows of a query, of a text and a number each.
func (f *fleet) query(sql string) map[string]int64 {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, f.dsn)
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		f.t.Fatal(err)
	}
	list := make(map[string]int64)
	var text string
	var number int64
	if _, err := pgx.ForEachRow(rows, []any{&text, &number}, func() error { list[text] = number; return nil }); err != nil {
		f.t.Fatal(err)
	}
	return list
}

// owner returns the node that serves a group's mesh.
func (f *fleet) owner(g *group) *server {
	f.t.Helper()
	pids := f.query(`SELECT replace(mesh_id::text, '-', ''), pid FROM claudemesh.nodes JOIN claudemesh.mesh_owners ON node_id = id`)
	i := slices.IndexFunc(f.nodes, func(n *server) bool { return int64(n.PID()) == pids[g.id()] })
	if i < 0 {
		f.t.Fatalf("no node owns mesh %s: %v", g.id(), pids)
	}
	return f.nodes[i]
}

// heads returns the sizes of the audit logs, by mesh.
func (f *fleet) heads() map[string]int64 {
	f.t.Helper()
	return f.query(`SELECT replace(mesh_id::text, '-', ''), seq FROM claudemesh.audit_heads`)
}

// run runs the block of docs/capacity.md that begins with a command, at the first node.
func (f *fleet) run(command string, places *strings.Replacer) string {
	f.t.Helper()
	cmd := exec.Command("sh", "-ec", places.Replace(takeBlock(f.t, "docs/capacity.md", command)))
	cmd.Dir, cmd.Env = f.nodes[0].Home, append(slices.Clone(f.nodes[0].Env), "PATH="+commands.Dir+":"+pgtest.Tools(f.t)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// check runs the checks of the page.
func (f *fleet) check() string {
	f.t.Helper()
	return f.run("caddy claudemesh audit verify", strings.NewReplacer("/etc/caddy/Caddyfile", f.nodes[0].Config))
}

// isContent checks what an operator sees of the nodes and the audit logs, and that only this group's mesh is served.
func (f *fleet) isContent(only, other *group) {
	f.t.Helper()
	out := f.check()
	if strings.Count(out, "chain intact") != 2 || strings.Contains(out, "restored") {
		f.t.Errorf("audit verify:\n%s", out)
	}
	if !served(out, only) || served(out, other) {
		f.t.Errorf("want an owner for mesh %s alone:\n%s", only.id(), out)
	}
	var rows []int64
	for _, pid := range f.query(`SELECT id::text, pid FROM claudemesh.nodes`) {
		rows = append(rows, pid)
	}
	if !slices.Contains(rows, int64(f.nodes[0].PID())) || !slices.Contains(rows, int64(f.nodes[1].PID())) || len(rows) != 2 {
		f.t.Errorf("the nodes are the processes %d", rows)
	}
	for _, n := range f.nodes {
		if log := n.Log(); strings.Contains(log, "lost the storage") {
			f.t.Errorf("a node has lost the database:\n%s", log)
		}
	}
}

// served reports whether the list of meshes shows an owner for the mesh of a group.
func served(list string, g *group) bool {
	_, meshes, _ := strings.Cut(list, "SLUG")
	_, row, _ := strings.Cut(meshes, g.id())
	row, _, _ = strings.Cut(row, "\n")
	return row != "" && !strings.HasSuffix(row, "none")
}

// group is a mesh that its members reach under a name: alice and bob, whose session works, with daemons that run all the
// time; carol, whose daemon is down; frank, who has only commands; and dave, whose session is of a v1 client.
type group struct {
	t                       *testing.T
	name                    *name
	alice, bob, carol       *patient
	frank                   *person
	dave                    *member
	work                    *registered
	keys                    keyPair // of dave's session
	toCarol, toDave, toWork []string
}

func newGroup(t *testing.T, n *name) *group {
	t.Helper()
	g := &group{t: t, name: n, alice: newPatient(t, n.server), bob: newPatient(t, n.server), carol: newPatient(t, n.server),
		frank: newPerson(t, n.server), keys: newKeys()}
	g.alice.must("create", "team", "--display-name", "alice")
	g.bob.must("join", g.alice.invite(), "--name", "bob")
	g.carol.must("join", g.alice.invite(), "--name", "carol")
	g.frank.must("join", g.alice.invite("--role", "admin"), "--name", "frank")
	g.dave = joinV1(t, n.server, g.alice.invite("--format", "v1"), "dave")
	g.alice.must("daemon", "up")
	g.bob.must("daemon", "up")
	g.work = g.bob.session("work")
	g.frank.must("audit", "verify") // keeps a checkpoint
	return g
}

// id returns the id of the mesh in hex.
func (g *group) id() string { return g.alice.config().str("meshId") }

// send sends a message from alice and returns its id.
func (g *group) send(to, text string) string {
	g.t.Helper()
	return parse(g.t, g.alice.must("send", to, text, "--no-wait", "--json")).str("clientMessageId")
}

// leaveWaiting sends messages to those who are away.
func (g *group) leaveWaiting() {
	g.t.Helper()
	dave := g.dave.session(g.t, g.keys)
	for i := range 2 {
		text := fmt.Sprint("waits ", i)
		g.toCarol = append(g.toCarol, g.send("carol", text))
		dave.send(g.carol.config().str("pubkey"), "", sealFields(g.t, g.keys, g.carol.config().str("pubkey"), text)...)
	}
	dave.leave()
	for i := range 2 {
		g.toDave = append(g.toDave, g.send(g.keys.hex, fmt.Sprint("waits ", i)))
	}
	for _, id := range slices.Concat(g.toCarol, g.toDave) {
		g.alice.awaitStatus(id, "queued")
	}
	g.frank.must("peers")
}

// sendWhileAway sends messages that wait at alice's machine.
func (g *group) sendWhileAway() {
	g.t.Helper()
	g.toCarol = append(g.toCarol, g.send("carol", "while it is away"))
	g.toWork = append(g.toWork, g.send(g.work.key, "while it is away"))
}

// goOn awaits the members, and what was sent to them, and sends more.
func (g *group) goOn() {
	g.t.Helper()
	dave := awaitSession(g.t, g.dave, g.keys)
	var got []string
	for range 2 {
		m := dave.message()
		text, _ := v1Text(g.t, m, g.keys)
		got = append(got, text)
	}
	g.carol.must("daemon", "up")
	for _, id := range slices.Concat(g.toCarol, g.toDave, g.toWork) {
		g.alice.awaitStatus(id, "delivered")
	}
	await.Until(g.t, "bob's session reads", func() bool { return g.work.reads("while it is away") })

	g.alice.awaitStatus(g.send("carol", "afterwards"), "delivered")
	g.send(g.work.key, "afterwards")
	await.Until(g.t, "bob's session reads", func() bool { return g.work.reads("afterwards") })
	g.send(g.keys.hex, "afterwards")
	text, _ := v1Text(g.t, dave.message(), g.keys)
	if got = append(got, text); !slices.Equal(got, []string{"waits 0", "waits 1", "afterwards"}) {
		g.t.Errorf("dave's session got %q", got)
	}
	dave.none("a message for the second time", isMessage)
	dave.leave()
	inbox := make(map[string][]string)
	for line := range strings.Lines(g.carol.must("inbox", "--all", "--json")) {
		m := parse(g.t, line)
		inbox[m.str("from")] = append(inbox[m.str("from")], m.str("body"))
	}
	want := map[string][]string{"alice": {"waits 0", "waits 1", "while it is away", "afterwards"}, "dave": {"waits 0", "waits 1"}}
	if !maps.EqualFunc(inbox, want, slices.Equal) {
		g.t.Errorf("carol's inbox: %q, want %q", inbox, want)
	}
	for who, p := range map[string]*person{"carol": g.carol.person, "frank": g.frank} {
		out, errOut, code := p.run("audit", "verify")
		if code != 0 || strings.Contains(out+errOut, "restored") || strings.Contains(errOut, "mesh team: ") {
			g.t.Errorf("%s, audit verify: exit %d\n%s%s", who, code, out, errOut)
		}
	}
}

// strays has frank and erin use the mesh at the cluster that no longer serves it, and then follow the page.
func (g *group) strays(erin *patient, wrong *name, f *fleet) {
	g.t.Helper()
	const setBack = "warning: mesh team: the audit log was cut off or set back"
	if _, errOut, code := g.frank.run("peers", "--broker", wrong.WSURL()); code != 0 || !strings.Contains(errOut, setBack) {
		g.t.Errorf("frank, at the other cluster: exit %d\n%s", code, errOut)
	}
	viaProxy(g.t, erin.person, g.name.WSURL(), wrong.WSURL())
	erin.must("daemon", "up")
	erin.awaitConnection(true)
	erin.awaitStatus(parse(g.t, erin.must("send", "carol", "lost", "--no-wait", "--json")).str("clientMessageId"), "queued")
	out := f.check()
	if !served(out, g) {
		g.t.Errorf("somebody is in mesh %s:\n%s", g.id(), out)
	}
	viaProxy(g.t, erin.person, wrong.WSURL(), g.name.WSURL())
	await.Until(g.t, "erin is back", func() bool { return strings.Contains(g.alice.must("peers"), "erin") })
	for _, p := range []*person{g.frank, erin.person} {
		if out, _, code := p.run("audit", "verify"); code != 1 || !strings.Contains(out, "claudemesh audit accept") {
			g.t.Errorf("audit verify after the stay at the other cluster: exit %d\n%s", code, out)
		}
		p.must("audit", "accept")
		p.must("audit", "verify")
	}
}
