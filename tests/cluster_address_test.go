package tests

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/doortest"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestClusterAddress starts nodes that advertise the address of another node, of something that isn't
// a node, or of nothing. Each says so and has no meshes. A node whose address begins to lead to it is
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
	if n.waits {
		return
	}
	await.Until(t, "the database says that the node gets no meshes", func() bool {
		out, _ := operate(other, pg, "nodes")
		for line := range strings.Lines(out) {
			if strings.Contains(line, " "+n.at+" ") && strings.Contains(line, "leads elsewhere or nowhere") {
				return true
			}
		}
		return false
	})
}
