package cluster

import (
	"net"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/doortest"
)

// TestUnprovenNode starts nodes at whose addresses nothing answers as a node, beside one that is well.
// Such a node never gets meshes before its address works.
func TestUnprovenNode(t *testing.T) {
	for name, open := range map[string]func(tb testing.TB) (address string, work func(func(net.Conn))){
		"refused": func(tb testing.TB) (string, func(func(net.Conn))) {
			address := doortest.Nowhere(tb)
			return address, func(answer func(net.Conn)) { doortest.Open(tb, address, answer) }
		},
		"silent": func(tb testing.TB) (string, func(func(net.Conn))) {
			wrong := doortest.Open(tb, "127.0.0.1:0", doortest.Silent)
			return wrong.Address, func(answer func(net.Conn)) {
				wrong.Close()
				doortest.Open(tb, wrong.Address, answer)
			}
		},
		"packets get lost": func(tb testing.TB) (string, func(func(net.Conn))) {
			l := doortest.Blackhole(tb)
			return l.Addr().String(), func(answer func(net.Conn)) { doortest.Answer(tb, l, answer) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, work := open(t)
			checkUnproven(t, address, work)
		})
	}
}

// checkUnproven starts a node that advertises an address, beside one that is well. work then makes the
// address answer.
func checkUnproven(t *testing.T, address string, work func(answer func(net.Conn))) {
	t.Helper()
	table := newTable()
	well := table.start(t, nil)
	var real string
	lost := table.start(t, func(own string) string {
		real = own
		return address
	})
	lost.awaitProblem(t, errUnreached, "advertises "+address)
	lost.await(t, "the node gives its meshes to others and takes none")
	if table.hasTaken(lost) {
		t.Error("the node could get meshes")
	}
	well.awaitReached(t, lost)
	work(doortest.PassTo(func() string { return real }))
	lost.awaitReached(t, well)
	if !table.hasTaken(lost) {
		t.Error("the node gets no meshes although its address works")
	}
}

// TestNewNode starts a node beside one that is well, which can't reach it at first. The new node is ready, and may
// get meshes, as soon as the other one has reached it, but not before.
func TestNewNode(t *testing.T) {
	table := newTable()
	well := table.start(t, nil)
	var proxy freezer
	proxy.freeze()
	next := table.start(t, func(own string) string { return proxy.forward(t, own) })
	next.await(t, "connected to another node")
	if next.Problem() == nil || table.hasTaken(next) {
		t.Error("the node is ready, or could get meshes, before it was reached")
	}
	proxy.melt()
	next.awaitReached(t, well)
	await.Until(t, "the node may get meshes", func() bool { return table.hasTaken(next) })
	well.awaitReached(t, next)
}
