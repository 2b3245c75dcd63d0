package storagetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// Node is a storage that can be a node of a cluster.
type Node interface {
	Store
	cluster.Store
	Cluster(cluster.Self)
}

// Shared is an empty database for the nodes of one test.
type Shared struct {
	Database
	// Node opens the database without claiming it.
	Node func(t testing.TB) Node
}

// RunCluster runs the tests of a storage that several nodes share.
func RunCluster(t *testing.T, fresh func(t testing.TB) Shared) {
	tests := []struct {
		name string
		run  func(t *testing.T, db Shared)
	}{
		{"join", testJoin},
		{"one owner", testOneOwner},
		{"assign to others", testAssign},
		{"commit is fenced", testCommitFenced},
		{"membership is fenced", testMembershipFenced},
		{"release", testRelease},
		{"leave", testLeave},
		{"creator owns", testCreatorOwns},
		{"drain", testDrain},
		{"elsewhere", testElsewhere},
		{"unproven", testUnproven},
		{"sweep own meshes", testSweepOwn},
		{"sweep what was got late", testSweepLate},
		{"neglected", testNeglected},
		{"watch", testWatch},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, fresh(t))
		})
	}
}

// join opens a database as a node.
func join(t testing.TB, db Shared, address string) (Node, int64) {
	t.Helper()
	return joinAs(t, db, cluster.Self{Address: address})
}

// joinAs opens a database as a node that publishes something about itself.
func joinAs(t testing.TB, db Shared, self cluster.Self) (Node, int64) {
	t.Helper()
	s := db.Node(t)
	t.Cleanup(func() { _ = s.Close() }) // some tests close it before
	self.PublicKey, self.Version, self.Lease = []byte(self.Address), "v1", time.Hour
	s.Cluster(self)
	check(t, s.Claim(t.Context()))
	id, ok := s.Self()
	if !ok {
		t.Fatal("a node without an id")
	}
	return s, id
}

func testJoin(t *testing.T, db Shared) {
	a, idA := join(t, db, "a:1")
	b, idB := join(t, db, "b:1")
	check(t, a.Claim(t.Context())) // it has joined already
	own(t, b, 2)
	nodes := must[[]cluster.Node](t)(a.Nodes(t.Context()))
	if len(nodes) != 2 || nodes[0].ID != idA || nodes[1].ID != idB || nodes[0].Address != "a:1" || string(nodes[1].PublicKey) != "b:1" ||
		nodes[0].Meshes != 0 || nodes[1].Meshes != 2 || !nodes[0].Live || nodes[1].Version != "v1" || nodes[1].Draining || nodes[0].Schema == 0 {
		t.Errorf("got nodes %+v", nodes)
	}
	same := db.Node(t)
	defer same.Close()
	same.Cluster(cluster.Self{Address: "a:1", PublicKey: []byte{}, Lease: time.Hour})
	if err := same.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("a second node with the address: %v", err)
	}
	alone := db.Open(t)
	defer alone.Close()
	if err := alone.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("a broker that wants the database alone: %v", err)
	}
	check(t, errors.Join(a.Close(), b.Close()))
	check(t, alone.Claim(t.Context()))
	commit(t, alone, journal.Batch{Messages: messages(newID(), 1, "s/a")}) // all meshes are its own
	if err := same.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("a node beside a broker that has the database alone: %v", err)
	}
}

func testLeave(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	b, idB := join(t, db, "b:1")
	m := own(t, a, 1)[0]
	check(t, a.Close())
	equal(t, "owner", ownerOf(t, b, m), 0)
	if owner, _, err := b.Assign(t.Context(), m, idB); err != nil || owner != idB {
		t.Errorf("the mesh went to %d: %v", owner, err)
	}
	equal(t, "nodes", len(must[[]cluster.Node](t)(b.Nodes(t.Context()))), 1)
}

func testDrain(t *testing.T, db Shared) {
	a, idA := join(t, db, "a:1")
	b, _ := join(t, db, "b:1")
	kept, free := own(t, a, 1)[0], unowned(t, b, 1)[0]
	check(t, a.Drain(t.Context()))
	for name, n := range map[string]Node{"itself": a, "another": b} {
		if _, ok, err := n.Assign(t.Context(), free, idA); ok || err != nil {
			t.Errorf("a node that drains got a mesh from %s: %v, %v", name, ok, err)
		}
	}
	if owner, ok, err := a.Assign(t.Context(), kept, idA); !ok || owner != idA || err != nil {
		t.Errorf("assign a mesh that it owns: %d, %v, %v", owner, ok, err)
	}
	commit(t, a, journal.Batch{Messages: messages(kept, 1, "s/a")})
	for _, n := range must[[]cluster.Node](t)(b.Nodes(t.Context())) {
		if n.Draining != (n.ID == idA) {
			t.Errorf("draining: %+v", n)
		}
	}
}

// testElsewhere checks that a node whose address leads elsewhere gets no meshes, like one that
// drains, and is asked to give away those that it has.
func testElsewhere(t *testing.T, db Shared) {
	a, idA := join(t, db, "a:1")
	b, _ := join(t, db, "b:1")
	kept, free := own(t, a, 1), unowned(t, b, 1)[0]
	equal(t, "asked at first", len(must[[]wire.ID](t)(a.Asked(t.Context()))), 0)
	a.Elsewhere(true)
	await.Until(t, "the node drains", a.Draining)
	equal(t, "asked", must[[]wire.ID](t)(a.Asked(t.Context())), kept)
	if _, ok, err := b.Assign(t.Context(), free, idA); ok || err != nil {
		t.Errorf("it got a mesh: %v, %v", ok, err)
	}
	for _, n := range must[[]cluster.Node](t)(b.Nodes(t.Context())) {
		if n.Elsewhere != (n.ID == idA) || n.Draining || n.Takes() == n.Elsewhere {
			t.Errorf("elsewhere: %+v", n)
		}
	}
	if b.Draining() {
		t.Error("Draining is true on the other node")
	}
	a.Elsewhere(false)
	await.Until(t, "the node takes meshes again", func() bool { return !a.Draining() })
	if owner, ok, err := b.Assign(t.Context(), free, idA); !ok || owner != idA || err != nil {
		t.Errorf("assign a mesh afterwards: %d, %v, %v", owner, ok, err)
	}
}

// testUnproven checks that a node whose address nobody has proven gets no meshes from the moment at
// which it joins, unless no other node gets any, and that the others hear at once of the proof.
func testUnproven(t *testing.T, db Shared) {
	a, idA := joinAs(t, db, cluster.Self{Address: "a:1", Unproven: true})
	b, idB := joinAs(t, db, cluster.Self{Address: "b:1", Unproven: true})
	list := unowned(t, a, 3)
	takes := func(m wire.ID, node int64) bool {
		t.Helper()
		_, ok, err := a.Assign(t.Context(), m, node)
		check(t, err)
		return ok
	}
	if !takes(list[0], idA) || a.Draining() {
		t.Error("the first node gets no meshes")
	}
	if takes(list[1], idB) || !b.Draining() {
		t.Error("a node without a proof gets meshes beside another one")
	}
	for _, n := range must[[]cluster.Node](t)(a.Nodes(t.Context())) {
		if n.Takes() != (n.ID == idA) {
			t.Errorf("before the proof: %+v", n)
		}
	}
	changed := a.Watch()
	b.Elsewhere(false)
	heard(t, "a proof", changed)
	await.Until(t, "the node gets meshes", func() bool { return !b.Draining() })
	if !takes(list[1], idB) {
		t.Error("a node with a proof gets no meshes")
	}
	check(t, errors.Join(a.Drain(t.Context()), b.Drain(t.Context())))
	c, idC := joinAs(t, db, cluster.Self{Address: "c:1", Unproven: true})
	if !takes(list[2], idC) || c.Draining() {
		t.Error("a node gets no meshes although the others drain")
	}
}

// heard waits until a channel of Watch is closed.
func heard(t testing.TB, what string, changed <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	select {
	case <-changed:
	case <-ctx.Done():
		t.Fatalf("Watch did not report %s", what)
	}
}

// testWatch checks that the other nodes soon learn that a node has joined, has left, and has given
// up a mesh.
func testWatch(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	changed := a.Watch()
	b, _ := join(t, db, "b:1")
	heard(t, "a new node", changed)
	list := own(t, b, 1)
	changed = a.Watch()
	check(t, b.Release(t.Context(), list))
	heard(t, "a release", changed)
	changed = a.Watch()
	check(t, b.Close())
	heard(t, "the end of a node", changed)
}
