package torture

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/netns"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// inNamespaces reports whether the -fault flag selects faults of TestNamespaces.
func inNamespaces() bool { return strings.HasPrefix(*onlyFault+"/", "namespaces/") }

const (
	manyMeshes = 12
	// calmPace is the time between two messages of a peer, so that the ledgers of a long run fit into memory.
	calmPace = 250 * time.Millisecond
)

// terrain is a cluster whose nodes, load balancer and two database servers each have a network namespace of
// their own. The peers are in that of the test.
type terrain struct {
	*nodes
	network  *netns.Network
	hosts    []*netns.Host // of the nodes
	visitors map[*world]*rawPeer
	balancer *netns.Host
	database map[*pgtest.Server]*netns.Host
	random   *rand.Rand
}

// terrainFault is a fault of a terrain. n counts how often it was injected before.
type terrainFault struct {
	name   string
	inject func(c *terrain, n int)
}

// terrainFaults returns the faults of clusters, and those that need a network.
func terrainFaults() []terrainFault {
	list := []terrainFault{
		{"freeze-database", (*terrain).freezeDatabase},
		{"isolate-primary", (*terrain).isolatePrimary},
		{"unplug-owner", (*terrain).unplugOwner},
	}
	for name, inject := range map[string]clusterFault{
		"kill-owner": (*nodes).killOwner, "freeze-owner": (*nodes).freezeOwner, "freeze-owner-shortly": (*nodes).freezeOwnerShortly,
		"clock": (*nodes).moveOwnersClock, "drain": (*nodes).drainOwner, "upgrade": (*nodes).upgrade, "failover": (*nodes).failOver,
	} {
		if name == "clock" && runtime.GOARCH != "amd64" {
			continue // NewClock can't move it
		}
		list = append(list, terrainFault{name, func(c *terrain, n int) { inject(c.nodes, n) }})
	}
	for pair, ends := range map[string]func(c *terrain) (a, b *netns.Host){
		"owner-node": func(c *terrain) (a, b *netns.Host) {
			o := c.awaitOwner()
			return c.hosts[o], c.hosts[(o+1+c.random.IntN(2))%3]
		},
		"owner-database":  func(c *terrain) (a, b *netns.Host) { return c.hosts[c.awaitOwner()], c.database[c.primary] },
		"owner-balancer":  func(c *terrain) (a, b *netns.Host) { return c.hosts[c.awaitOwner()], c.balancer },
		"balancer-peers":  func(c *terrain) (a, b *netns.Host) { return c.balancer, c.network.Here() },
		"primary-standby": func(c *terrain) (a, b *netns.Host) { return c.database[c.primary], c.database[c.standby] },
	} {
		for manner, cut := range map[string]func(c *terrain, a, b *netns.Host) (mend func()){
			"silent":  func(c *terrain, a, b *netns.Host) (mend func()) { return c.cut(netns.Silent, a, b) },
			"loud":    func(c *terrain, a, b *netns.Host) (mend func()) { return c.cut(netns.Loud, a, b) },
			"one-way": (*terrain).cutOneWay,
		} {
			stopsAll := pair == "balancer-peers" || pair == "primary-standby"
			list = append(list, terrainFault{"cut/" + pair + "/" + manner, func(c *terrain, _ int) {
				a, b := ends(c)
				mend := cut(c, a, b)
				c.linger()
				mend()
				if stopsAll {
					c.startGaps()
				}
			}})
		}
	}
	slices.SortFunc(list, func(a, b terrainFault) int { return strings.Compare(a.name, b.name) })
	return slices.DeleteFunc(list, func(f terrainFault) bool { return !strings.HasPrefix("namespaces/"+f.name+"/", *onlyFault+"/") })
}

// TestNamespaces injects faults of all kinds in random order into one running cluster in network
// namespaces, for the time of the -for flag, or one of each kind. Many meshes are busy meanwhile. After each
// fault, every mesh must make progress. In the end every ledger must balance, the audit logs must be
// intact, and each session must be in its mesh's roster once.
func TestNamespaces(t *testing.T) {
	if !inNamespaces() {
		t.Skip("make torture FAULT=namespaces runs this test")
	}
	args := []string{"-fault", *onlyFault, "-for", runFor.String(), "-seed", fmt.Sprint(*seed)}
	if !netns.Isolated(t, args, []string{harness.CommandsVariable + "=" + commands.Dir}) {
		return
	}
	faults := terrainFaults()
	if len(faults) == 0 {
		t.Fatalf("there is no fault %q", *onlyFault)
	}
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	fmt.Printf("the seed is %d\n", *seed)
	c := newTerrain(t)
	fmt.Printf("%8s  %d meshes are busy\n", time.Since(began).Round(time.Second), len(c.meshes))
	if !c.injectAll(faults) {
		t.Fatalf("the seed is %d", *seed)
	}
	for _, mesh := range c.meshes {
		mesh.close()
	}
	c.verify()
}

// newTerrain starts everything.
func newTerrain(t *testing.T) *terrain {
	t.Helper()
	c := &terrain{network: netns.New(t), random: rand.New(rand.NewPCG(*seed, 0)), database: make(map[*pgtest.Server]*netns.Host), visitors: make(map[*world]*rawPeer)}
	var servers []*pgtest.Server
	for range 2 {
		host := c.network.Host(t)
		s := pgtest.Start(t, pgtest.Durable(), pgtest.On(host))
		servers, c.database[s] = append(servers, s), host
	}
	w := newWorldOn(t, "namespaces/1", servers[0], servers[0].DSN())
	w.pace = calmPace
	w.replicate(servers[0], servers[1])
	c.nodes = w.newNodes()
	for _, node := range c.list {
		host := c.network.Host(t)
		node.On(host)
		address := host.Address + ":7901"
		c.join(node, address, address)
		c.hosts = append(c.hosts, host)
	}
	c.balancer = c.network.Host(t)
	c.serve(c.balancer)
	for len(c.meshes) < manyMeshes {
		mesh := w.another(fmt.Sprintf("namespaces/%d", len(c.meshes)+1))
		mesh.ledger.mayForget()
		mesh.found()
		mesh.populate()
		mesh.load()
		c.meshes = append(c.meshes, mesh)
	}
	for _, mesh := range c.meshes {
		c.visitors[mesh] = mesh.newVisitor()
	}
	return c
}

// injectAll injects the faults, each time in another order. It returns false as soon as a promise is broken.
func (c *terrain) injectAll(faults []terrainFault) bool {
	end := time.Now().Add(*runFor)
	injected := make(map[string]int)
	for len(injected) == 0 || time.Now().Before(end) {
		for _, i := range c.random.Perm(len(faults)) {
			if *runFor > 0 && !time.Now().Before(end) {
				return true
			}
			fault := faults[i]
			c.inject(fault, injected[fault.name])
			injected[fault.name]++
			for _, mesh := range c.meshes {
				if wrong := mesh.ledger.violations(); len(wrong) > 0 {
					c.w.t.Errorf("after %s, in %s: %s", fault.name, mesh.name, strings.Join(wrong, "\n"))
				}
			}
			if c.w.t.Failed() {
				return false
			}
		}
	}
	return true
}

// inject injects a fault into a mesh that it chooses, and waits until all is well again.
func (c *terrain) inject(fault terrainFault, n int) {
	c.w.t.Helper()
	c.w = c.meshes[c.random.IntN(len(c.meshes))]
	for _, mesh := range c.meshes { // all meshes are under the fault, and one is its target
		mesh.ledger.fault()
	}
	c.startGaps()
	stop := c.visitors[c.w].comeAndGo()
	c.w.withoutOne(n, func() { fault.inject(c, n) })
	c.awaitAll()
	c.awaitRecovery()
	stop()
	longest := c.longestGaps()
	waits.add(fault.name, longest)
	fmt.Printf("%8s  %s: %s\n", time.Since(began).Round(time.Second), fault.name, longest)
}

// linger keeps up a fault: for about as long as a lease, or until all timeouts have passed.
func (c *terrain) linger() {
	c.w.t.Helper()
	d := time.Second + time.Duration(c.random.Int64N(int64(4*time.Second)))
	if c.random.IntN(2) == 0 {
		d *= 3
	}
	c.w.hold(d, d)
}

// cut stops the packets between two hosts, both ways.
func (c *terrain) cut(how netns.Manner, a, b *netns.Host) (mend func()) {
	c.w.t.Helper()
	there, back := c.stop(how, a, b), c.stop(how, b, a)
	return func() { there(); back() }
}

// cutOneWay stops the packets from one of two hosts to the other.
func (c *terrain) cutOneWay(a, b *netns.Host) (mend func()) {
	c.w.t.Helper()
	if c.random.IntN(2) == 0 {
		a, b = b, a
	}
	return c.stop(netns.Silent, a, b)
}

func (c *terrain) stop(how netns.Manner, from, to *netns.Host) (mend func()) {
	c.w.t.Helper()
	undo, err := c.network.Cut(from, to, how)
	c.w.check(err)
	return func() { c.w.check(undo()) }
}

// unplugOwner unplugs the owner of the mesh, until another node has the mesh and has been busy for a while or, every
// other time, until all peers have gone on.
func (c *terrain) unplugOwner(n int) {
	o := c.awaitOwner()
	c.w.check(c.hosts[o].Unplug())
	c.awaitAnother(o)
	if n%2 == 0 {
		c.awaitRecovery()
	} else {
		c.linger()
	}
	c.w.check(c.hosts[o].Plug())
}

// freezeDatabase freezes the primary.
func (c *terrain) freezeDatabase(int) {
	c.primary.Pause()
	c.linger()
	c.primary.Resume()
	c.startGaps()
}

// isolatePrimary unplugs the primary and promotes the standby. The old primary still runs; it can't commit
// without a standby. Its operator ends it before it is plugged again.
func (c *terrain) isolatePrimary(int) {
	old := c.primary
	c.w.check(c.database[old].Unplug())
	c.linger()
	c.promote(func() {
		old.Kill()
		c.w.check(c.database[old].Plug())
	})
}
