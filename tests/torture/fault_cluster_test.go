package torture

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// nodes is a cluster of three brokers behind a load balancer that spreads connections at random.
type nodes struct {
	w         *world
	list      []*harness.Broker
	addresses []string // that the nodes advertise
	networks  []*proxy // through which the other nodes reach each node
}

// serveCluster starts three nodes and a load balancer, through which all peers connect.
func (w *world) serveCluster() *nodes {
	w.t.Helper()
	w.ledger.mayForget()
	own := commands
	own.Dir, own.Caddy = filepath.Dir(w.caddy), w.caddy
	c := &nodes{w: w}
	var ports []int
	for i := range 3 {
		node := w.broker
		if i > 0 {
			node = harness.NewBroker(w.t, own, w.env...)
		}
		listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(w.t))
		network := newProxyTo(w, listen)
		node.JoinCluster(listen, "advertise "+network.address())
		c.list, ports = append(c.list, node), append(ports, node.Port)
		c.networks, c.addresses = append(c.networks, network), append(c.addresses, network.address())
		node.Start()
	}
	w.balance("cluster-balancer", "NODES", ports...)
	w.eventually("the load balancer reaches a node", func() bool {
		res, err := http.Get("http" + strings.TrimSuffix(strings.TrimPrefix(w.url, "ws"), "/ws") + "/health/ready")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	w.found()
	w.populate()
	w.load()
	return c
}

// owner returns which node owns the mesh, or -1 while none does.
func (c *nodes) owner() int {
	conn, err := pgx.Connect(c.w.ctx, c.w.dsn)
	if err != nil {
		return -1 // the database is restarting
	}
	defer conn.Close(c.w.ctx)
	var pid int
	if err := conn.QueryRow(c.w.ctx, `SELECT n.pid FROM claudemesh.nodes n JOIN claudemesh.mesh_owners o ON o.node_id = n.id
		WHERE o.mesh_id = $1::uuid AND n.lease_until > clock_timestamp()`, c.w.owner.MeshID).Scan(&pid); err != nil {
		return -1
	}
	return slices.IndexFunc(c.list, func(b *harness.Broker) bool { return b.Running() && b.PID() == pid })
}

// awaitOwner waits until a node owns the mesh, and returns it.
func (c *nodes) awaitOwner() (node int) {
	c.w.t.Helper()
	c.w.eventually("a node owns the mesh", func() bool {
		node = c.owner()
		return node >= 0
	})
	return node
}

// awaitAnother waits until another node than one owns the mesh.
func (c *nodes) awaitAnother(than int) {
	c.w.t.Helper()
	c.w.eventually("another node owns the mesh", func() bool {
		now := c.owner()
		return now >= 0 && now != than
	})
}

// awaitAll waits until all nodes are ready.
func (c *nodes) awaitAll() {
	c.w.t.Helper()
	for _, node := range c.list {
		c.w.eventually("the node is ready", func() bool {
			status, _ := node.TryGet("/health/ready")
			return status == 200
		})
	}
}

// verify checks that the audit logs are intact and that the roster has each session once.
func (c *nodes) verify() {
	w := c.w
	w.t.Helper()
	c.awaitAll()
	if out, code := c.list[0].RunCaddy("claudemesh", "audit", "verify", "--database", w.dsn); code != 0 {
		w.t.Errorf("audit verify: exit %d\n%s", code, out)
	}
	at := w.owner
	at.BrokerURL = w.url
	var rows []wire.PeerRow
	w.eventually("a node shows the roster", func() bool {
		client, err := peer.Dial(w.ctx, peer.Options{Mesh: at, About: peer.About{Channel: "torture"}})
		if err != nil {
			return false
		}
		defer client.Close()
		rows, err = client.ListPeers(w.ctx)
		return err == nil
	})
	seen := make(map[string]bool)
	for _, row := range rows {
		if key := fmt.Sprint(row.Pubkey, row.PeerRole, row.Hostname); row.PeerRole == "session" && seen[key] {
			w.t.Errorf("the roster has the session %s twice", row.DisplayName)
		} else {
			seen[key] = true
		}
	}
	if len(rows) < len(w.raw) {
		w.t.Errorf("the roster has %d rows, and there are %d sessions", len(rows), len(w.raw))
	}
}

// killOwner kills the owner of the mesh.
func killOwner(w *world) {
	c := w.serveCluster()
	w.repeatWithoutOne(func(int) {
		o := c.awaitOwner()
		c.list[o].Kill()
		c.awaitAnother(o)
		c.list[o].Start()
	})
	c.verify()
}

// freezeOwner freezes the owner of the mesh at an arbitrary moment, until another node has the mesh and has
// been busy for a while. Then the frozen node goes on and must notice what it has lost.
func freezeOwner(w *world) {
	c := w.serveCluster()
	w.repeatWithoutOne(func(int) {
		o := c.awaitOwner()
		w.check(syscall.Kill(c.list[o].PID(), syscall.SIGSTOP))
		c.awaitAnother(o)
		w.progress()
		w.check(syscall.Kill(c.list[o].PID(), syscall.SIGCONT))
		c.awaitAll()
	})
	c.verify()
}

// freezeOwnerShortly freezes the owner of the mesh for slightly less or more than a lease.
func freezeOwnerShortly(w *world) {
	c := w.serveCluster()
	w.repeatWithoutOne(func(n int) {
		o := c.awaitOwner()
		w.check(syscall.Kill(c.list[o].PID(), syscall.SIGSTOP))
		w.hold(pauses[n%len(pauses)], pauses[n%len(pauses)])
		w.check(syscall.Kill(c.list[o].PID(), syscall.SIGCONT))
		c.awaitAll()
	})
	c.verify()
}

// moveOwnersClock moves the clock of the mesh's owner by an hour, forward or back. The node must give the
// mesh away and say why, until its clock is right.
func moveOwnersClock(w *world) {
	c := w.serveCluster()
	clocks := make(map[int]*clock)
	w.repeatWithoutOne(func(n int) {
		o := c.awaitOwner()
		if clocks[o] == nil {
			clocks[o] = newClock(w.t, c.list[o].PID())
		}
		jump := time.Hour
		if n%2 == 1 {
			jump = -jump
		}
		clocks[o].set(w.t, jump)
		c.awaitAnother(o)
		w.eventually("the node says that its clock is wrong", func() bool {
			status, answer := c.list[o].TryGet("/health/ready")
			return status == 503 && strings.Contains(answer, "cluster_clock")
		})
		w.progress()
		clocks[o].set(w.t, 0)
		c.awaitAll()
	})
	c.verify()
}

// drainOwner has the owner of the mesh give all its meshes away, as an operator does.
func drainOwner(w *world) {
	c := w.serveCluster()
	w.repeatWithoutOne(func(int) {
		o := c.awaitOwner()
		drain := func(more ...string) {
			args := append([]string{"claudemesh", "drain", "--database", w.dsn, "--node", c.addresses[o]}, more...)
			if out, code := c.list[o].RunCaddy(args...); code != 0 {
				w.t.Fatalf("caddy %s: exit %d\n%s", strings.Join(args, " "), code, out)
			}
		}
		drain()
		c.awaitAnother(o)
		w.progress()
		drain("--undo")
		c.awaitAll()
	})
	c.verify()
}

// upgradeNodes replaces one node after the other by another build, as an operator does.
func upgradeNodes(w *world) {
	builds := []string{upgraded(w), commands.Caddy}
	c := w.serveCluster()
	w.repeat(func(n int) {
		w.install(builds[n%len(builds)])
		for _, node := range c.list {
			node.Stop()
			w.progress()
			node.Start()
		}
	})
	c.verify()
}

// cutNodes blocks the way to one node after the other from the other nodes, in both directions or in one, and
// then resets the connections or lets the data through.
func cutNodes(w *world) {
	c := w.serveCluster()
	w.repeatWithoutOne(func(n int) {
		network := c.networks[n%len(c.networks)]
		var cut weather
		cut.cut[toBroker] = n%2 == 0
		cut.cut[fromBroker] = n%3 != 0
		network.set(cut)
		w.hold(2*time.Second, 12*time.Second) // a link is given up after 4 s
		if n%2 == 1 {
			network.reset()
		}
		network.set(weather{})
		c.awaitAll()
	})
	c.verify()
}

// failOverNodes kills the primary of the cluster's two database servers, promotes the standby, and
// makes the old primary the new standby.
func failOverNodes(w *world) {
	primary, standby := w.pg, pgtest.Start(w.t, pgtest.Durable())
	standby.Follow(primary)
	w.dsn = pgtest.DSNOfPair(primary, standby)
	w.env = append(w.env, "DATABASE_URL="+w.dsn)
	w.broker.Env = append(w.broker.Env, "DATABASE_URL="+w.dsn)
	c := w.serveCluster()
	w.repeatWithoutOne(func(int) {
		primary.Kill()
		standby.Promote()
		c.awaitAll()
		w.progress()
		primary.Follow(standby)
		primary, standby = standby, primary
	})
	c.verify()
}
