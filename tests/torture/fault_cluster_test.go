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

	"github.com/claudemesh/claudemesh/internal/netns"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// nodes is a cluster of three brokers behind a load balancer that spreads connections at random.
type nodes struct {
	w         *world   // whose mesh the faults are about
	meshes    []*world // all meshes, with their peers
	list      []*harness.Broker
	addresses []string // that the nodes advertise
	ways      []*proxy // on the loopback interface, the ways from the other nodes to each node

	primary, standby *pgtest.Server         // nil if the cluster has no servers of its own
	clocks           map[int]*harness.Clock // of processes
}

// clusterFault is a fault of a cluster. n counts how often it was injected before.
type clusterFault func(c *nodes, n int)

// inCluster returns the scenario of a fault.
func inCluster(fault clusterFault) func(*world) {
	return func(w *world) {
		if w.pg != nil {
			w.replicate(w.pg, pgtest.Start(w.t, pgtest.Durable()))
		}
		c := w.serveCluster()
		w.repeatWithoutOne(func(n int) { fault(c, n) })
		c.verify()
	}
}

// newNodes prepares the three nodes.
func (w *world) newNodes() *nodes {
	w.t.Helper()
	w.ledger.mayForget()
	own := commands
	own.Dir, own.Caddy = filepath.Dir(w.caddy), w.caddy
	c := &nodes{w: w, meshes: []*world{w}, list: []*harness.Broker{w.broker}, clocks: make(map[int]*harness.Clock), primary: w.pg, standby: w.standby}
	for len(c.list) < 3 {
		c.list = append(c.list, harness.NewBroker(w.t, own, w.env...))
	}
	return c
}

// serveCluster starts three nodes and a load balancer, through which all peers connect. Everything is on
// the loopback interface.
func (w *world) serveCluster() *nodes {
	w.t.Helper()
	c := w.newNodes()
	for _, node := range c.list {
		listen := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(w.t))
		way := newProxyTo(w, listen)
		c.join(node, listen, way.address())
		c.ways = append(c.ways, way)
	}
	c.serve(nil)
	return c
}

// join makes a node part of the cluster, at an address that leads to where it listens.
func (c *nodes) join(node *harness.Broker, listen, address string) {
	node.JoinCluster(listen, "advertise "+address)
	c.addresses = append(c.addresses, address)
}

// serve starts the nodes, the load balancer on a host, and the load.
func (c *nodes) serve(balancer *netns.Host) {
	w := c.w
	w.t.Helper()
	for _, node := range c.list {
		node.Start()
	}
	w.balance(balancer, "cluster-balancer", "NODES", c.list...)
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
}

// replicate gives the nodes a primary and a standby as their database.
func (w *world) replicate(primary, standby *pgtest.Server) {
	w.t.Helper()
	standby.Follow(primary)
	w.pg, w.standby = primary, standby
	w.dsn = pgtest.DSNOfPair(primary, standby)
	w.env = append(w.env, "DATABASE_URL="+w.dsn)
	w.broker.Env = append(w.broker.Env, "DATABASE_URL="+w.dsn)
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

// verify checks that the audit logs are intact and that each mesh's roster has each session once.
func (c *nodes) verify() {
	w := c.w
	w.t.Helper()
	c.awaitAll()
	if out, code := c.list[0].RunCaddy("claudemesh", "audit", "verify", "--database", w.dsn); code != 0 {
		w.t.Errorf("audit verify: exit %d\n%s", code, out)
	}
	for _, mesh := range c.meshes {
		mesh.verifyRoster()
	}
}

// verifyRoster waits until the roster has each peer once, and online.
func (w *world) verifyRoster() {
	w.t.Helper()
	at := w.owner
	at.BrokerURL = w.url
	w.eventually("each session is in the roster once", func() bool {
		client, err := peer.Dial(w.ctx, peer.Options{Mesh: at, About: peer.About{Channel: "torture"}})
		if err != nil {
			return false
		}
		defer client.Close()
		rows, err := client.ListPeers(w.ctx)
		if err != nil {
			return false
		}
		listed, online := make(map[string]int), make(map[string]bool)
		for _, row := range rows {
			key := row.Pubkey.String()
			listed[key]++
			online[key] = row.Online
		}
		for _, p := range w.parties {
			if n := listed[p.key]; n > 1 {
				w.t.Fatalf("%s is in the roster %d times", p.name, n)
			} else if n == 0 || !online[p.key] {
				return false
			}
		}
		return true
	})
}

// killOwner kills the owner of the mesh.
func (c *nodes) killOwner(int) {
	o := c.awaitOwner()
	c.list[o].Kill()
	c.awaitAnother(o)
	c.list[o].Start()
}

// freezeOwner freezes the owner of the mesh at an arbitrary moment, until another node has the mesh and has
// been busy for a while or, every other time, until all peers have gone on. Then the frozen node goes on and must
// notice what it has lost.
func (c *nodes) freezeOwner(n int) {
	o := c.awaitOwner()
	c.signal(o, syscall.SIGSTOP)
	c.awaitAnother(o)
	if n%2 == 0 {
		c.awaitRecovery()
	} else {
		c.w.progress()
	}
	c.signal(o, syscall.SIGCONT)
	c.awaitAll()
}

// freezeOwnerShortly freezes the owner of the mesh for slightly less or more than a lease.
func (c *nodes) freezeOwnerShortly(n int) {
	o := c.awaitOwner()
	c.signal(o, syscall.SIGSTOP)
	c.w.hold(pauses[n%len(pauses)], pauses[n%len(pauses)])
	c.signal(o, syscall.SIGCONT)
	c.awaitAll()
}

func (c *nodes) signal(node int, sig syscall.Signal) {
	c.w.t.Helper()
	c.w.check(syscall.Kill(c.list[node].PID(), sig))
}

// moveOwnersClock moves the clock of the mesh's owner by an hour, forward or back. The node must give the
// mesh away and say why, until its clock is right.
func (c *nodes) moveOwnersClock(n int) {
	o := c.awaitOwner()
	pid := c.list[o].PID()
	if c.clocks[pid] == nil {
		c.clocks[pid] = harness.NewClock(c.w.t, pid)
	}
	jump := time.Hour
	if n%2 == 1 {
		jump = -jump
	}
	c.clocks[pid].Set(c.w.t, jump)
	c.awaitAnother(o)
	c.w.eventually("the node says that its clock is wrong", func() bool {
		status, answer := c.list[o].TryGet("/health/ready")
		return status == 503 && strings.Contains(answer, "cluster_clock")
	})
	c.w.progress()
	c.clocks[pid].Set(c.w.t, 0)
	c.awaitAll()
}

// drainOwner has the owner of the mesh give all its meshes away, as an operator does.
func (c *nodes) drainOwner(int) {
	o := c.awaitOwner()
	drain := func(more ...string) {
		args := append([]string{"claudemesh", "drain", "--database", c.w.dsn, "--node", c.addresses[o]}, more...)
		if out, code := c.list[o].RunCaddy(args...); code != 0 {
			c.w.t.Fatalf("caddy %s: exit %d\n%s", strings.Join(args, " "), code, out)
		}
	}
	drain()
	c.awaitAnother(o)
	c.w.progress()
	drain("--undo")
	c.awaitAll()
}

// upgrade replaces one node after the other by another build, as an operator does.
func (c *nodes) upgrade(n int) {
	builds := []string{upgraded(c.w), commands.Caddy}
	c.w.install(builds[n%len(builds)])
	for _, node := range c.list {
		node.Stop()
		c.w.progress()
		node.Start()
	}
}

// blockNode blocks the way to one node after the other from the other nodes, in both directions or in one,
// and then resets the connections or lets the data through.
func (c *nodes) blockNode(n int) {
	way := c.ways[n%len(c.ways)]
	var cut weather
	cut.cut[toBroker] = n%2 == 0
	cut.cut[fromBroker] = n%3 != 0
	way.set(cut)
	c.w.hold(2*time.Second, 12*time.Second) // a link is given up after 4 s
	if n%2 == 1 {
		way.reset()
	}
	way.set(weather{})
	c.awaitAll()
}

// failOver kills the primary of the cluster's two database servers, promotes the standby, and makes the old
// primary the new standby.
func (c *nodes) failOver(int) {
	c.primary.Kill()
	c.promote(func() {})
}

// promote replaces the primary, which is out of reach, and makes it the standby after fence has made sure
// that it has ended.
func (c *nodes) promote(fence func()) {
	c.standby.Promote()
	c.startGaps()
	c.awaitAll()
	c.w.progress()
	fence()
	c.primary.Follow(c.standby)
	c.primary, c.standby = c.standby, c.primary
}
