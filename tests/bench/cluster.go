package main

import (
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// Names of series: sockets at the owner of their mesh, and sockets at a node that relays them.
const (
	atOwner = "direct"
	atEdge  = "relayed"
)

// node starts a node of a cluster.
func (l *lab) node(s *stage, dsn, name string) *site {
	x := l.prepare(s, dsn, name)
	x.address = "127.0.0.1:" + strconv.Itoa(harness.FreePort(s))
	x.JoinCluster(x.address)
	x.Start()
	return x
}

// nodes starts two nodes of a cluster. The first one owns a mesh, and the second one relays sockets of
// the same mesh to it.
func (l *lab) nodes(s *stage) (owner, edge *site) {
	dsn, name := l.database(s)
	owner, edge = l.node(s, dsn, name), l.node(s, dsn, name)
	owner.found(s)
	edge.mesh = owner.mesh
	edge.mesh.BrokerURL = edge.WSURL()
	s.check("write a config", peer.UpdateConfig(s.ctx, edge.dir(), func(c *peer.Config) error {
		c.Put(edge.mesh)
		return nil
	}))
	return owner, edge
}

// cluster compares sockets at the owner of their mesh with relayed ones, and measures how long a session is
// away when its mesh gets another owner.
func (l *lab) cluster(s *stage) {
	l.typed("cluster", "make benchmarks BENCHFLAGS='-only cluster'")
	for range short(l, 3, 1) {
		l.sockets(s)
	}
	for range short(l, 5, 1) {
		l.trouble("cluster", perform(s.ctx, l.relayedIdle))
	}
	l.trouble("cluster", perform(s.ctx, l.balance))
	l.trouble("cluster", perform(s.ctx, l.moves))
}

// sockets measures the latency and the throughput of sockets at the owner of their mesh, then of relayed ones.
func (l *lab) sockets(s *stage) {
	rate := []string{"rate", "--pairs", "10", "--rate", "200", "--duration", short(l, 6*time.Second, 3*time.Second).String()}
	throughput := []string{"throughput", "--pairs", "50", "--window", "32", "--duration", short(l, 6*time.Second, 2*time.Second).String()}
	medians, rates := map[string]float64{}, map[string]float64{}
	for _, of := range []string{atOwner, atEdge} {
		l.trouble("cluster", perform(s.ctx, func(s *stage) {
			owner, edge := l.nodes(s)
			x := owner
			if of == atEdge {
				x = edge
			}
			r := x.bench(s, rate...)
			l.times(r, "send_push", series("cluster/push", of))
			if t, ok := timesOf(r, "send_push"); ok {
				medians[of] = t.P50
			}
			before, _ := owner.count(s)
			r = x.bench(s, throughput...)
			owner.drain(s)
			l.countsOfBoth(s, owner, before, r, of)
			l.figure(r, "messages_per_second", series("cluster/delivered", of))
			rates[of], _ = r.Value("messages_per_second")
			l.accounts(r, series("cluster", of))
		}))
	}
	if medians[atOwner] > 0 && medians[atEdge] > 0 {
		l.add("cluster/beyond", medians[atEdge]-medians[atOwner])
	}
	if rates[atOwner] > 0 && rates[atEdge] > 0 {
		l.add("cluster/share", 100*rates[atEdge]/rates[atOwner])
	}
}

// countsOfBoth records the statements and notifications of both nodes per message since before. All
// messages must be stored.
func (l *lab) countsOfBoth(s *stage, x *site, before counted, r *bench.Result, of string) {
	delivered, _ := r.Value("delivered")
	after, known := x.count(s)
	if !known || delivered == 0 {
		return
	}
	l.add(series("cluster/statements", of), (after.statements-before.statements)/delivered)
	l.add(series("cluster/notifications", of), (after.notifications-before.notifications)/delivered)
}

// relayedIdle measures the memory of idle sessions at the node that relays them. The first ones
// don't count: with them come pages of the program and buffers for sessions that arrive.
func (l *lab) relayedIdle(s *stage) {
	n := short(l, 2000, 400)
	owner, edge := l.nodes(s)
	measure := func(more int) bench.Reading {
		l.hold(s, owner, []peer.Mesh{edge.mesh}, more)
		edge.settle(s)
		edge.collect(s)
		return edge.gauge(s)
	}
	before := measure(n / 10)
	after := measure(n)
	l.add("cluster/resident", float64(after.Resident-before.Resident)/float64(n)/1024)
	l.add("cluster/in use", float64(after.InUse-before.InUse)/float64(n)/1024)
}

// moves measures how long a session at another node is away when the owner of its mesh hands the mesh over, and
// how long after the owner was killed it is back.
func (l *lab) moves(s *stage) {
	a, b := l.nodes(s)
	for range short(l, 20, 2) {
		owner, other := a, b
		if l.number(s, a.dsn, `SELECT pid::float8 FROM claudemesh.nodes JOIN claudemesh.mesh_owners ON node_id = id`) == float64(b.PID()) {
			owner, other = b, a
		}
		drain := func(more ...string) {
			args := append([]string{"claudemesh", "drain", "--database", a.dsn, "--node", owner.address}, more...)
			if out, code := owner.RunCaddy(args...); code != 0 {
				s.Fatalf("drain: exit %d\n%s", code, out)
			}
		}
		down, up := other.away(s, a.mesh, func() { drain() })
		l.add("cluster/handover", up.Sub(down).Seconds())
		drain("--undo")
		owner.AwaitReady()

		owner, other = other, owner // it has the mesh now
		var killed time.Time
		_, up = other.away(s, a.mesh, func() {
			killed = time.Now()
			owner.Kill()
		})
		l.add("cluster/failover", up.Sub(killed).Seconds())
		owner.Start()
	}
}

// away returns when the connection of a client at this node ended because of what leave does, and when the
// client was back.
func (x *site) away(s *stage, mesh peer.Mesh, leave func()) (down, up time.Time) {
	type change struct {
		connected bool
		at        time.Time
	}
	changes := make(chan change, 100)
	mesh.BrokerURL = x.WSURL()
	client, err := peer.Dial(s.ctx, peer.Options{
		Mesh: mesh, About: peer.About{Channel: "claudemesh-bench"},
		OnState: func(state peer.State) { changes <- change{state.Connected, time.Now()} },
	})
	s.check("connect a client", err)
	defer client.Close()
	await := func(connected bool) time.Time {
		deadline := time.NewTimer(holdPatience)
		defer deadline.Stop()
		for {
			select {
			case c := <-changes:
				if c.connected == connected {
					return c.at
				}
			case <-deadline.C:
				s.Fatalf("timed out waiting until the client's connection is %v", connected)
			case <-s.ctx.Done():
				s.Fatal(s.ctx.Err())
			}
		}
	}
	await(true)
	leave()
	down = await(false)
	return down, await(true)
}
