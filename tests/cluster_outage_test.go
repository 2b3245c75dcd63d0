package tests

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestClusterWithoutDatabase freezes the database of two nodes until their leases have run out. Both keep their
// sockets, one of which is relayed, and go on.
func TestClusterWithoutDatabase(t *testing.T) {
	t.Parallel()
	pg, a, b := startNodes(t)
	m := newTeam(t, a)
	onA, onB := m.owner.daemon(t), m.join(t, "bob").at(b).daemon(t)
	onA.send("*", "before")
	onB.texts(1)
	before := nodeIDs(t, pg)
	pg.Pause()
	for _, s := range []*server{a, b} {
		await.Until(t, "the node is suspended", func() bool {
			status, text := s.TryGet("/health/ready")
			return status == 503 && parse(t, text).str("reason") != "" && strings.Contains(s.Log(), "suspended: no message is accepted or pushed")
		})
	}
	pg.Resume()
	a.AwaitReady()
	b.AwaitReady()
	for address, id := range nodeIDs(t, pg) {
		if before[address] != id {
			t.Errorf("the node at %s is another one since the outage", address)
		}
	}
	onA.send("*", "afterwards")
	if got := onB.texts(1); got[0] != "afterwards" {
		t.Errorf("got %q", got)
	}
}

// TestClusterBesideASingleBroker starts a broker without the option cluster beside a node: it serves nobody, and says
// what to add.
func TestClusterBesideASingleBroker(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	a, single := node(t, pg), newServer(t, "DATABASE_URL="+pg.DSN())
	a.Start()
	single.Launch()
	notReady(t, single, "storage_in_use")
	await.Until(t, "the log says what to add", func() bool {
		return strings.Contains(single.Log(), "add a cluster block to this broker's configuration, or stop all nodes")
	})
	newTeam(t, a).owner.daemon(t).sync()
}
