package tests

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/doortest"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestClusterAddress starts nodes that advertise the address of another node, of something that isn't
// a node, or of nothing. Each says so in its log, in the table of nodes and at /health/ready, and never
// gets a mesh. A node whose address begins to lead to it is ready.
func TestClusterAddress(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	address := "127.0.0.1:" + strconv.Itoa(freePort(t))
	a := newServer(t, "DATABASE_URL="+pg.DSN())
	a.JoinCluster(address)
	a.Start()

	nodes := []*wrongNode{
		{name: "another node", at: address, log: "advertises the same address " + address, waits: true},
		{name: "a server", at: "127.0.0.1:" + strconv.Itoa(a.Port), log: "where something other than a node answers"},
		{name: "no such host", at: "nowhere.invalid:7901", log: "does not reach itself there"},
		{name: "refused", at: "127.0.0.1:" + strconv.Itoa(freePort(t)), log: "connection refused", heals: true},
		{name: "silent", answer: doortest.Silent, log: "does not answer within", heals: true},
		{name: "EOF", answer: func(net.Conn) {}, log: "closes the connection at once", heals: true},
		{name: "black hole", hole: doortest.Blackhole(t), log: "does not answer within", heals: true},
	}
	var teams []*team
	for range 3 {
		teams = append(teams, newTeam(t, a))
	}
	got := watchOwners(t, pg)
	for _, n := range nodes {
		n.launch(t, pg)
	}
	for _, n := range nodes {
		if !n.waits {
			n.awaitJoined(t, pg)
		}
	}
	if out, code := operate(a, pg, "rebalance", "--json"); len(jsonRows(t, out, code)) > 0 {
		t.Errorf("meshes move to nodes whose addresses are wrong:\n%s", out)
	}
	if out, code := operate(a, pg, "drain", "--node", address); code == 0 || !strings.Contains(out, "no other node would take the meshes") {
		t.Errorf("drain the only node with a right address: exit %d\n%s", code, out)
	}
	for _, m := range teams {
		m.owner.daemon(t).sync()
	}
	for _, n := range nodes {
		t.Run(n.name, func(t *testing.T) { n.stepsAside(t, a, pg) })
	}
	for pid, meshes := range got() {
		if pid != a.PID() {
			t.Errorf("process %d got %d meshes", pid, meshes)
		}
	}
	for _, n := range nodes {
		if !n.waits {
			m := newTeam(t, n.broker)
			awaitSession(t, m.at(a).owner, newKeys()).sync() // the node has to hand the mesh over first
			if owned := nodeOf(t, pg, n.broker).meshes; owned != 0 {
				t.Errorf("%s: the node owns %d meshes", n.name, owned)
			}
		}
	}
	for _, n := range nodes {
		if n.heals {
			if n.door != nil {
				n.door.Close()
			}
			pass := doortest.PassTo(func() string { return n.right })
			if n.hole != nil {
				doortest.Answer(t, n.hole, pass)
			} else {
				doortest.Open(t, n.at, pass)
			}
			n.broker.AwaitReady()
		}
		n.broker.Stop()
	}
	if out, code := operate(a, pg, "nodes"); code != 0 || strings.Contains(out, "waits") {
		t.Errorf("nodes after all: exit %d\n%s", code, out)
	}
	a.AwaitReady()
}

// wrongNode is a node whose advertised address does not lead to it.
type wrongNode struct {
	name   string
	at     string         // the advertised address; with answer, launch chooses it
	hole   net.Listener   // it has the advertised address, and nobody reaches it before it accepts
	answer func(net.Conn) // what the test does with connections to the address; nil: the address is not the test's
	log    string         // what the log says
	waits  bool           // the node does not join, since another one has its address
	heals  bool           // the test makes the address lead to the node in the end

	broker *server
	right  string         // the address that leads to the node
	door   *doortest.Door // at the address, with answer
}

func (n *wrongNode) launch(t *testing.T, pg *pgtest.Server) {
	t.Helper()
	switch {
	case n.answer != nil:
		n.door = doortest.Open(t, "127.0.0.1:0", n.answer)
		n.at = n.door.Address
	case n.hole != nil:
		n.at = n.hole.Addr().String()
	}
	n.right = "127.0.0.1:" + strconv.Itoa(freePort(t))
	n.broker = newServer(t, "DATABASE_URL="+pg.DSN())
	n.broker.JoinCluster(n.right, "advertise "+n.at)
	n.broker.Launch()
}

// awaitJoined waits until the database has the node.
func (n *wrongNode) awaitJoined(t *testing.T, pg *pgtest.Server) {
	t.Helper()
	await.Until(t, "the node has joined", func() (joined bool) {
		queryRow(t, pg, []any{&joined}, `SELECT EXISTS (SELECT FROM claudemesh.nodes WHERE pid = $1)`, n.broker.PID())
		return joined
	})
}

// watchOwners returns a function that returns how many meshes each process has got since, by its id.
// A mesh counts even if the process did not keep it.
func watchOwners(t *testing.T, pg *pgtest.Server) func() map[int]int {
	t.Helper()
	pg.Exec(`CREATE TABLE public.got (pid integer NOT NULL);
		CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			INSERT INTO public.got SELECT pid FROM claudemesh.nodes WHERE id = NEW.node_id;
			RETURN NULL;
		END $$;
		CREATE TRIGGER note AFTER INSERT OR UPDATE OF node_id ON claudemesh.mesh_owners FOR EACH ROW EXECUTE FUNCTION public.note()`)
	return func() map[int]int {
		var pids, counts []int
		queryRow(t, pg, []any{&pids, &counts}, `SELECT coalesce(array_agg(pid), '{}'), coalesce(array_agg(n), '{}')
			FROM (SELECT pid, count(*)::integer AS n FROM public.got GROUP BY pid) AS each`)
		meshes := make(map[int]int)
		for i, pid := range pids {
			meshes[pid] = counts[i]
		}
		return meshes
	}
}

// stepsAside waits until everybody can see that the address is wrong.
func (n *wrongNode) stepsAside(t *testing.T, other *server, pg *pgtest.Server) {
	notReady(t, n.broker, "cluster_address")
	await.Until(t, "the log says what is wrong", func() bool {
		return strings.Contains(n.broker.Log(), n.log) && strings.Contains(n.broker.Log(), "advertise")
	})
	says := "no other node reaches it at its address"
	if n.waits {
		says = " waits "
	}
	var out string
	await.Until(t, "the table of nodes says that the node gets no meshes", func() bool {
		out, _ = operate(other, pg, "nodes")
		for line := range strings.Lines(out) {
			if strings.Contains(line, " "+n.at+" ") && strings.Contains(line, says) {
				return true
			}
		}
		return false
	}, func() string { return out })
	if n.waits {
		n.isCandidate(t, other, pg, out)
	}
}

// isCandidate checks that operators see why the node waits.
func (n *wrongNode) isCandidate(t *testing.T, other *server, pg *pgtest.Server, table string) {
	if !strings.Contains(table, fmt.Sprintf("Process %d on host ", n.broker.PID())) || !strings.Contains(table, n.log) {
		t.Errorf("nodes:\n%s", table)
	}
	out, code := operate(other, pg, "nodes", "--json")
	rows := jsonRows(t, out, code)
	if last := rows[len(rows)-1]; last.str("address") != n.at || last["live"] != false || !strings.Contains(last.str("waits"), n.log) {
		t.Errorf("nodes --json: %s", last)
	}
	for _, s := range []*server{other, n.broker} {
		var page string
		await.Until(t, "the operator's page says so", func() bool {
			page = adminGet(filepath.Join(s.Home, "admin.sock"), "/claudemesh/")
			return strings.Contains(page, ">waits<") && strings.Contains(page, n.log)
		}, func() string { return page })
	}
}

// TestClusterStranger connects to the cluster port of a node as if it were one. The node refuses that and logs it. It
// is not the node's fault: the node stays ready, and the table of nodes shows nothing of it.
func TestClusterStranger(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	a := node(t, pg)
	a.Start()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", nodeOf(t, pg, a).address, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"claudemesh-node/1"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: private}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
		t.Error("the node lets a stranger in")
	}
	await.Until(t, "the log says so", func() bool {
		return strings.Contains(a.Log(), "refused a connection at the cluster port") && strings.Contains(a.Log(), "it is a stranger, or a node of another database")
	})
	if status, text := a.TryGet("/health/ready"); status != 200 {
		t.Errorf("/health/ready: %d %s", status, text)
	}
	out, code := operate(a, pg, "nodes", "--json")
	if rows := jsonRows(t, out, code); len(rows) != 1 || rows[0]["live"] != true || rows[0]["elsewhere"] != false {
		t.Errorf("nodes: %s", out)
	}
}
