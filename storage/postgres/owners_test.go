package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage/storagetest"
	"github.com/claudemesh/claudemesh/wire"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	storagetest.RunCluster(t, func(t testing.TB) storagetest.Shared {
		dsn := pgtest.DSN(t)
		return storagetest.Shared{Database: database(dsn), Node: func(t testing.TB) storagetest.Node { return open(t, dsn) }}
	})
}

// joined opens a database as a node whose lease does not end by itself.
func joined(t *testing.T, dsn, address string) *Store {
	t.Helper()
	s := open(t, dsn)
	t.Cleanup(func() { s.Close() })
	s.Cluster(cluster.Self{Address: address, PublicKey: []byte{}, Lease: time.Hour})
	if err := s.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Store) own(t *testing.T) error {
	t.Helper()
	id, _ := s.Self()
	err := s.CreateMesh(t.Context(), mesh.Mesh{ID: box.Mesh}, mesh.Member{ID: wire.ID{1}, MeshID: box.Mesh, Role: mesh.Owner})
	if err != nil && !errors.Is(err, mesh.ErrExists) {
		return err
	}
	owner, ok, err := s.Assign(t.Context(), box.Mesh, id)
	if err == nil && (!ok || owner != id) {
		err = fmt.Errorf("the mesh belongs to %d, %v", owner, ok)
	}
	return err
}

// begin begins a transaction that may write to the mesh of box.
func (s *Store) begin(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	query, args := s.fence([]wire.ID{box.Mesh})
	if _, err := tx.Exec(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
	return tx
}

// TestReleaseWaits checks that a node does not give up a mesh before the transactions that write to
// it have ended.
func TestReleaseWaits(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	if err := a.own(t); err != nil {
		t.Fatal(err)
	}
	tx := a.begin(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := a.Release(ctx, []wire.ID{box.Mesh}); err == nil {
		t.Error("Release succeeded in the middle of a transaction")
	}
	if err := b.own(t); err == nil {
		t.Error("another node got the mesh in the middle of a transaction")
	}
	if err := errors.Join(tx.Commit(t.Context()), a.Release(t.Context(), []wire.ID{box.Mesh}), b.own(t)); err != nil {
		t.Error(err)
	}
}

// TestWatchAfterOutage checks that notifications come again after the connection that brings them
// was lost.
func TestWatchAfterOutage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	a, b := joined(t, server.DSN(), "a:1"), joined(t, server.DSN(), "b:1")
	for range 3 {
		server.Exec(endBackends)
		eventually(t, "join in again", func() error { return errors.Join(a.own(t), a.Claimed(), b.Claimed()) })
		changed := b.Watch()
		eventually(t, "release", func() error { return a.Release(t.Context(), []wire.ID{box.Mesh}) })
		<-changed
	}
}

// TestMove checks that a mesh that an operator moves goes to the chosen node when its owner gives
// it up, and to no node if the chosen one takes no meshes.
func TestMove(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	operator := open(t, dsn)
	t.Cleanup(func() { operator.Close() })
	if err := a.own(t); err != nil {
		t.Fatal(err)
	}
	idA, _ := a.Self()
	idB, _ := b.Self()
	ask := func(from, to int64) {
		t.Helper()
		if err := operator.Move(t.Context(), []cluster.Move{{Mesh: box.Mesh, From: from, To: to}}); err != nil {
			t.Fatal(err)
		}
	}
	owner := func(want int64) {
		t.Helper()
		list, err := operator.Holdings(t.Context())
		if err != nil || want == 0 && len(list) > 0 || want != 0 && (len(list) != 1 || list[0].Node != want || list[0].Mesh != box.Mesh) {
			t.Fatalf("the owners are %+v, %v; want node %d", list, err, want)
		}
	}
	for _, nowhere := range [][2]int64{{idB, idA}, {idA, 4711}} { // it is not b's; there is no such node
		ask(nowhere[0], nowhere[1])
	}
	if n, err := operator.Moving(t.Context()); n != 0 || err != nil {
		t.Errorf("got %d meshes to move, error %v", n, err)
	}
	ask(idA, idB)
	if n, err := operator.Moving(t.Context()); n != 1 || err != nil {
		t.Errorf("got %d meshes to move, error %v", n, err)
	}
	eventually(t, "the node is asked", func() error {
		list, err := a.Asked(t.Context())
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("Asked returned %v", list)
		}
		return err
	})
	if a.Draining() {
		t.Error("Draining is true")
	}
	owner(idA)
	if err := errors.Join(a.Release(t.Context(), []wire.ID{box.Mesh}), commitOne(b, 1, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	owner(idB)
	ask(idB, idA)
	if err := errors.Join(operator.SetDraining(t.Context(), idA, true), b.Release(t.Context(), []wire.ID{box.Mesh})); err != nil {
		t.Fatal(err)
	}
	owner(0)
	eventually(t, "Draining is true", func() error {
		if !a.Draining() {
			return errors.New("it does not")
		}
		return nil
	})
	if err := operator.SetDraining(t.Context(), 4711, true); !errors.Is(err, ErrNodeGone) {
		t.Errorf("drain an unknown node: %v", err)
	}
}

// TestLastNodeDoesNotDrain has two operators drain the two nodes of a cluster at once: one of the nodes goes on.
func TestLastNodeDoesNotDrain(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	operator := open(t, dsn)
	t.Cleanup(func() { operator.Close() })
	for range 10 {
		var refused atomic.Int32
		var asking sync.WaitGroup
		for _, s := range []*Store{a, b} {
			id, _ := s.Self()
			asking.Go(func() {
				err := operator.SetDraining(t.Context(), id, true)
				if errors.Is(err, ErrNoTaker) {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		if n := refused.Load(); n != 1 {
			t.Fatalf("%d of the two nodes were refused to drain, want 1", n)
		}
		for _, s := range []*Store{a, b} {
			id, _ := s.Self()
			if err := operator.SetDraining(t.Context(), id, false); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRefusedNode checks that what a node is refused costs it neither a connection nor memory.
func TestRefusedNode(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	if err := a.own(t); err != nil {
		t.Fatal(err)
	}
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := conn.SendBatch(t.Context(), b.batch(box.Mesh)).Close(); !violated(err, meshesLost) {
		t.Errorf("a transaction that writes to another node's mesh: %v", err)
	}
	if again, err := usable(t.Context(), conn.Conn()); !again || err != nil {
		t.Errorf("the pool uses the connection again: %t, %v", again, err)
	}
	id, _ := b.Self()
	if _, ok, err := b.Assign(t.Context(), wire.ID{99}, id); ok || !errors.Is(err, cluster.ErrNoMesh) {
		t.Errorf("assign a mesh that does not exist: %t, %v", ok, err)
	}
	if list := b.fresh.list(); len(list) > 0 {
		t.Errorf("the node remembers %v", list)
	}
}
