package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/wire"
)

// node is a broker of a cluster.
type node struct {
	*server
	owners *cluster.Owners
}

// join starts a broker as a node of the cluster that has a database.
func join(t *testing.T, dsn, address string) *node {
	t.Helper()
	store, owners := openNode(t, dsn, address)
	return &node{run(t, nil, broker.Options{Storage: store, Cluster: owners}, nil), owners}
}

// openNode opens the storage of a node.
func openNode(t *testing.T, dsn, address string) (*postgres.Store, *cluster.Owners) {
	t.Helper()
	store, err := postgres.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	store.Cluster(cluster.Self{Address: address, PublicKey: []byte{}, Lease: time.Hour})
	return store, cluster.NewOwners(store)
}

func meshOf(t *testing.T, m member) wire.ID {
	t.Helper()
	id, err := wire.ParseID(m.mesh)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// wantOwner checks which node owns a mesh, as another one sees it.
func (n *node) wantOwner(id wire.ID, want *node) {
	n.t.Helper()
	n.owners.Forget(id)
	owner, local, err := n.owners.Owner(context.Background(), id)
	self, _ := want.owners.Self()
	if err != nil || owner.ID != self || local != (n == want) {
		n.t.Errorf("the owner is %v, local %v, %v; want %d", owner, local, err, self)
	}
}

// TestHandOver checks that a mesh that is handed over goes on elsewhere: the broker closes its
// sockets, the other node serves a hello that waits for the mesh, and nothing is lost.
func TestHandOver(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a, b := join(t, server.DSN(), "a:1"), join(t, server.DSN(), "b:1")
	m, bobKeys, aliceKeys := a.owner(), newKeys(t), newKeys(t)
	other := a.owner()
	id := meshOf(t, m)
	b.wantOwner(id, a)
	stays := a.session(other, newKeys(t), "stays")
	alice, bob := a.session(m, aliceKeys, "alice"), a.session(m, bobKeys, "bob")
	alice.tell(0, bobKeys.Public())
	bob.gets(0)
	_ = bob.ws.CloseNow()
	alice.tell(1, bobKeys.Public())

	early := b.dial() // before the mesh is there
	early.send(sessionHello(m, bobKeys, "bob"))
	if err := a.HandOver(t.Context(), []wire.ID{id}); err != nil {
		t.Fatal(err)
	}
	if reason := alice.closed(); reason != wire.ReasonMoved {
		t.Errorf("closed with %q, want %q", reason, wire.ReasonMoved)
	}
	early.next("hello_ack")
	early.gets(1)
	a.wantOwner(id, b)
	alice = b.session(m, aliceKeys, "alice")
	alice.wantPeers("alice", "bob")
	alice.tell(2, bobKeys.Public())
	early.gets(2)
	alice.delivered(2)
	stays.wantPeers("stays")

	for round, to := range []*node{a, b, a} { // back and forth
		from := map[*node]*node{a: b, b: a}[to]
		if err := from.HandOver(t.Context(), []wire.ID{id}); err != nil {
			t.Fatal(err)
		}
		alice, bob = to.session(m, aliceKeys, "alice"), to.session(m, bobKeys, "bob")
		alice.tell(3+round, bobKeys.Public())
		bob.gets(3 + round)
		alice.delivered(3 + round)
	}
	logs, err := a.AuditLogs(t.Context())
	if err != nil || !slices.ContainsFunc(logs, func(l audit.Log) bool { return l.Mesh == id && l.Slug == "team" && l.Head.Seq > 0 }) {
		t.Errorf("got audit logs %v, %v; want entries of mesh %s", logs, err, id)
	}
}

// TestLostMesh checks that a node that has lost a mesh without notice closes the mesh's sockets and
// stores nothing of it, and that it goes on serving its other meshes.
func TestLostMesh(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a, b := join(t, server.DSN(), "a:1"), join(t, server.DSN(), "b:1")
	m, aliceKeys, bobKeys := a.owner(), newKeys(t), newKeys(t)
	other, daveKeys := a.owner(), newKeys(t)
	id := meshOf(t, m)
	alice := a.session(m, aliceKeys, "alice")
	a.session(m, bobKeys, "bob")
	carol := a.session(other, newKeys(t), "carol")
	a.session(other, daveKeys, "dave")
	self, _ := b.owners.Self()
	server.Exec(fmt.Sprintf(`UPDATE claudemesh.mesh_owners SET node_id = %d WHERE mesh_id = '%s'`, self, id))
	carol.send(message(1, daveKeys.Public(), 100))
	alice.send(message(1, bobKeys.Public(), 100))
	if reason := alice.closed(); reason != wire.ReasonMoved {
		t.Errorf("closed with %q, want %q", reason, wire.ReasonMoved)
	}
	carol.acked(1, 2)
	carol.tell(2, daveKeys.Public())
	alice = b.session(m, aliceKeys, "alice")
	alice.tell(1, bobKeys.Public())
	bob := b.session(m, bobKeys, "bob")
	bob.gets(1)
	alice.delivered(1)
	if err := b.HandOver(t.Context(), []wire.ID{id}); err != nil {
		t.Fatal(err)
	}
	alice = a.session(m, aliceKeys, "alice") // the first node may have it again
	alice.tell(2, bobKeys.Public())
	bob = a.session(m, bobKeys, "bob")
	bob.gets(2)
}

// lateReader is a storage. A test can hold up the next reading of a presence.
type lateReader struct {
	*postgres.Store
	next chan heldRead
}

// heldRead is one reading that is held up.
type heldRead struct{ begun, over chan struct{} }

func (s *lateReader) LastPresence(ctx context.Context, mesh wire.ID, id presence.Identity) (presence.Record, bool, error) {
	select {
	case held := <-s.next:
		close(held.begun)
		<-held.over
		ctx = context.WithoutCancel(ctx)
	default:
	}
	return s.Store.LastPresence(ctx, mesh, id)
}

// TestHelloOutlivesItsMesh checks that a hello that is still being served when its mesh has left
// for another node does not keep this node from serving the mesh later.
func TestHelloOutlivesItsMesh(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	store, owners := openNode(t, server.DSN(), "a:1")
	slow := &lateReader{store, make(chan heldRead, 1)}
	a := &node{run(t, nil, broker.Options{Storage: slow, Cluster: owners}, nil), owners}
	b := join(t, server.DSN(), "b:1")
	m, aliceKeys, bobKeys := a.owner(), newKeys(t), newKeys(t)
	id := meshOf(t, m)
	a.session(m, aliceKeys, "alice")

	held := heldRead{make(chan struct{}), make(chan struct{})}
	goOn := sync.OnceFunc(func() { close(held.over) })
	defer goOn() // otherwise a failure would keep the broker from stopping
	slow.next <- held
	late := a.dial()
	late.send(sessionHello(m, newKeys(t), "late"))
	<-held.begun
	if err := a.HandOver(t.Context(), []wire.ID{id}); err != nil {
		t.Fatal(err)
	}
	b.session(m, bobKeys, "bob")
	goOn()
	if refused := late.next("error"); refused["code"] != string(wire.CodeTryAgain) {
		t.Errorf("the late hello got %v, want error %s", refused, wire.CodeTryAgain)
	}
	if err := b.HandOver(t.Context(), []wire.ID{id}); err != nil {
		t.Fatal(err)
	}
	alice, bob := a.session(m, aliceKeys, "alice"), a.session(m, bobKeys, "bob")
	alice.tell(1, bobKeys.Public())
	bob.gets(1)
	alice.delivered(1)
}

// failing is a storage. A test can make its commits fail.
type failing struct {
	*postgres.Store
	fails atomic.Bool
}

func (s *failing) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	if s.fails.Load() {
		return nil, errors.New("no disk")
	}
	return s.Store.Commit(ctx, b)
}

// TestHandOverWhileTheStorageFails checks that a node that can't store what is left of a mesh keeps
// the mesh and its sockets.
func TestHandOverWhileTheStorageFails(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	store, owners := openNode(t, server.DSN(), "a:1")
	storage := &failing{Store: store}
	a := &node{run(t, nil, broker.Options{Storage: storage, Cluster: owners}, nil), owners}
	m, bobKeys := a.owner(), newKeys(t)
	alice, bob := a.session(m, newKeys(t), "alice"), a.session(m, bobKeys, "bob")
	storage.fails.Store(true)
	alice.send(message(1, bobKeys.Public(), 100))
	await.Until(t, "a commit has failed", func() bool { return a.Stats().Journal.Failures > 0 })
	if err := a.HandOver(t.Context(), []wire.ID{meshOf(t, m)}); err == nil {
		t.Error("a mesh was handed over whose messages can't be stored")
	}
	storage.fails.Store(false)
	bob.gets(1)
	alice.acked(1, 2)
	await.Until(t, "the storage is back", func() bool { return a.Ready(t.Context()) == nil })
	if err := a.HandOver(t.Context(), []wire.ID{meshOf(t, m)}); err != nil {
		t.Error(err)
	}
}

// late is the router of a node. Once move is set, the mesh moves between the next question and its answer.
type late struct {
	broker.Router
	owners *cluster.Owners
	move   func()
	taken  chan []byte
}

func (l *late) Route(ctx context.Context, mesh wire.ID, _ netip.Addr) (func(net.Conn, []byte), error) {
	_, local, err := l.owners.Owner(ctx, mesh)
	if move := l.move; move != nil {
		l.move = nil
		move()
	}
	if local || err != nil {
		return nil, err
	}
	return func(socket net.Conn, early []byte) {
		_ = socket.Close()
		l.taken <- early
	}, nil
}

// TestHelloOfAMovingMesh checks that a hello whose mesh leaves this node after the router was asked
// goes to the node that has the mesh then, or that is to get it.
func TestHelloOfAMovingMesh(t *testing.T) {
	t.Parallel()
	for name, taken := range map[string]bool{"another node has it": true, "nobody has it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t)
			b := join(t, server.DSN(), "b:1")
			store, owners := openNode(t, server.DSN(), "a:1")
			router := &late{owners: owners, taken: make(chan []byte, 1)}
			a := run(t, nil, broker.Options{Storage: store, Cluster: owners, Router: router}, nil)
			m := a.owner()
			a.session(m, newKeys(t), "x")
			router.move = func() {
				if err := a.HandOverAll(t.Context(), 0); err != nil {
					t.Error(err)
				}
				if taken {
					b.session(m, newKeys(t), "x")
				}
			}
			client := a.dial()
			client.send(sessionHello(m, newKeys(t), "y"))
			if _, _, err := client.ws.Read(t.Context()); err == nil {
				t.Error("the node answered the hello itself")
			}
			select {
			case early := <-router.taken:
				if len(early) == 0 {
					t.Error("the other node got no hello")
				}
			default:
				t.Error("no other node got the hello")
			}
		})
	}
}

// TestHandOverAll checks that a node that drains gives all meshes away and gets none.
func TestHandOverAll(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a, b := join(t, server.DSN(), "a:1"), join(t, server.DSN(), "b:1")
	var clients []*client
	var members []member
	for range 5 {
		m := a.owner()
		members = append(members, m)
		clients = append(clients, a.session(m, newKeys(t), "x"))
	}
	if err := a.HandOverAll(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for i, c := range clients {
		if reason := c.closed(); reason != wire.ReasonMoved {
			t.Errorf("closed with %q, want %q", reason, wire.ReasonMoved)
		}
		a.wantOwner(meshOf(t, members[i]), b)
		b.session(members[i], newKeys(t), "y").wantPeers("x", "y")
	}
}

// TestHandOverIsSpread checks that meshes leave spread over the given time. Their clients are gone, so nothing else
// makes a mesh wait.
func TestHandOverIsSpread(t *testing.T) {
	t.Parallel()
	a := join(t, pgtest.Start(t).DSN(), "a:1")
	const meshes, over = 5, time.Second
	for range meshes {
		_ = a.session(a.owner(), newKeys(t), "x").ws.CloseNow()
	}
	began := time.Now()
	if err := a.HandOverAll(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < over*(meshes-1)/meshes {
		t.Errorf("%d meshes left within %s, want them spread over %s", meshes, took, over)
	}
}

// TestObey checks that a node does what an operator asks for in the database: it gives one mesh to
// a certain node, and then all of them to any node, until the operator takes that back.
func TestObey(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a, b := join(t, server.DSN(), "a:1"), join(t, server.DSN(), "b:1")
	operator, err := postgres.Open(server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	moves, stays := a.owner(), a.owner()
	one, other := a.session(moves, newKeys(t), "one"), a.session(stays, newKeys(t), "other")
	idA, _ := a.owners.Self()
	idB, _ := b.owners.Self()
	if err := operator.Move(t.Context(), []cluster.Move{{Mesh: meshOf(t, moves), From: idA, To: idB}}); err != nil {
		t.Fatal(err)
	}
	if reason := one.closed(); reason != wire.ReasonMoved {
		t.Errorf("closed with %q, want %q", reason, wire.ReasonMoved)
	}
	b.session(moves, newKeys(t), "two").wantPeers("one", "two")
	a.wantOwner(meshOf(t, moves), b)
	a.wantOwner(meshOf(t, stays), a)
	if err := a.Ready(t.Context()); err != nil {
		t.Errorf("Ready after a move = %v, want nil", err)
	}

	if err := operator.SetDraining(t.Context(), idA, true); err != nil {
		t.Fatal(err)
	}
	if reason := other.closed(); reason != wire.ReasonMoved {
		t.Errorf("closed with %q, want %q", reason, wire.ReasonMoved)
	}
	var not *broker.NotReady
	if err := a.Ready(t.Context()); !errors.As(err, &not) || not.Reason != "draining" {
		t.Errorf("Ready while the node drains = %v, want reason draining", err)
	}
	if h := a.Health(t.Context()); h.DB != "up" {
		t.Errorf("Health while the node drains = %+v, want the database up", h)
	}
	await.Until(t, "the mesh is at the other node", func() bool {
		a.owners.Forget(meshOf(t, stays))
		owner, _, err := a.owners.Owner(t.Context(), meshOf(t, stays))
		return err == nil && owner.ID == idB
	})
	if s := a.Stats(); s.Owned != 0 {
		t.Errorf("a node that drains owns %d meshes, want none", s.Owned)
	}
	if err := operator.SetDraining(t.Context(), idA, false); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the node is ready again", func() bool { return a.Ready(t.Context()) == nil })
}

// TestHandOverAllOutside checks that a broker that isn't a node, or not any more, has nothing to
// hand over, and marks no node.
func TestHandOverAllOutside(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a := join(t, server.DSN(), "a:1")
	same := join(t, server.DSN(), "a:1") // waits, since the address is taken
	if _, joined := same.owners.Self(); joined {
		t.Fatal("two nodes have one address")
	}
	if err := same.HandOverAll(t.Context(), 0); err != nil {
		t.Errorf("HandOverAll of a node that has not joined: %v", err)
	}
	self, _ := a.owners.Self()
	server.Exec(fmt.Sprintf(`DELETE FROM claudemesh.nodes WHERE id = %d`, self))
	<-a.Lost()
	if err := a.HandOverAll(t.Context(), 0); err != nil {
		t.Errorf("HandOverAll of a node that was removed: %v", err)
	}
}

// TestHandOverOfLostMesh checks a node that hands over a mesh that it has lost without notice: it
// serves the mesh like any other when it gets the mesh again.
func TestHandOverOfLostMesh(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a, b := join(t, server.DSN(), "a:1"), join(t, server.DSN(), "b:1")
	m, aliceKeys, bobKeys := a.owner(), newKeys(t), newKeys(t)
	id := meshOf(t, m)
	alice := a.session(m, aliceKeys, "alice")
	a.session(m, bobKeys, "bob")
	thief, _ := b.owners.Self()
	server.Exec(fmt.Sprintf(`UPDATE claudemesh.mesh_owners SET node_id = %d WHERE mesh_id = '%s'`, thief, id))
	if err := a.HandOver(t.Context(), []wire.ID{id}); err != nil {
		t.Fatal(err)
	}
	if reason := alice.closed(); reason != wire.ReasonMoved {
		t.Errorf("closed with %q, want %q", reason, wire.ReasonMoved)
	}
	server.Exec(fmt.Sprintf(`DELETE FROM claudemesh.mesh_owners WHERE mesh_id = '%s'`, id))
	alice = a.session(m, aliceKeys, "alice")
	alice.tell(1, bobKeys.Public())
	bob := a.session(m, bobKeys, "bob")
	bob.gets(1)
	alice.delivered(1)
}
