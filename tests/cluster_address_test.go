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
// a node, or of nothing. Each says so in its log, in the table of nodes and at /health/ready, and has no meshes. A node whose address begins to lead to it is
// ready.
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
	}
	for _, n := range nodes {
		n.launch(t, pg)
	}
	// A new node may get meshes until it knows that its address is wrong, so no mesh is made before
	// all of them know.
	for _, n := range nodes {
		t.Run(n.name, func(t *testing.T) { n.stepsAside(t, a, pg) })
	}
	for _, n := range nodes {
		if !n.waits {
			m := newTeam(t, n.broker)
			m.at(a).owner.daemon(t).sync()
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
			doortest.Open(t, n.at, doortest.PassTo(func() string { return n.right }))
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
	if n.answer != nil {
		n.door = doortest.Open(t, "127.0.0.1:0", n.answer)
		n.at = n.door.Address
	}
	n.right = "127.0.0.1:" + strconv.Itoa(freePort(t))
	n.broker = newServer(t, "DATABASE_URL="+pg.DSN())
	n.broker.JoinCluster(n.right, "advertise "+n.at)
	n.broker.Launch()
}

// stepsAside waits until everybody can see that the address is wrong.
func (n *wrongNode) stepsAside(t *testing.T, other *server, pg *pgtest.Server) {
	notReady(t, n.broker, "cluster_address")
	await.Until(t, "the log says what is wrong", func() bool {
		return strings.Contains(n.broker.Log(), n.log) && strings.Contains(n.broker.Log(), "advertise")
	})
	says := "leads elsewhere or nowhere"
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
