package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage"
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

// reaped ends the lease of a store until another node has removed it.
func reaped(t *testing.T, s *Store, dsn string) {
	t.Helper()
	eventually(t, "the end of a node", func() error {
		execute(t, dsn, fmt.Sprintf(`UPDATE claudemesh.nodes SET lease_until = clock_timestamp() WHERE id = %d`, s.lease.Load().id))
		if err := s.Claimed(); !errors.Is(err, storage.ErrInUse) {
			return fmt.Errorf("claimed: %w", err)
		}
		return nil
	})
}

// TestDeadNode checks that the other nodes remove a node whose lease has run out, which frees its
// meshes. That node can't write any more, whatever it remembers, even after the mesh is free again.
func TestDeadNode(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	if err := errors.Join(a.own(t), commitOne(a, 1, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	var lost *journal.LostError
	if err := commitOne(b, 2, 10*time.Second); !errors.As(err, &lost) {
		t.Errorf("a commit to another node's mesh: %v", err)
	}
	reaped(t, a, dsn)
	if _, ok := a.Self(); ok {
		t.Error("Self says that a removed node is still a node")
	}
	for range 2 {
		if err := commitOne(a, 2, 10*time.Second); !errors.Is(err, storage.ErrInUse) {
			t.Errorf("a commit of a node that was removed: %v", err)
		}
		if err := errors.Join(b.own(t), commitOne(b, 2, 10*time.Second)); err != nil {
			t.Error(err)
		}
	}
	if err := a.Claim(t.Context()); err != nil {
		t.Fatalf("join again: %v", err)
	}
	if err := commitOne(a, 3, 10*time.Second); !errors.As(err, &lost) {
		t.Errorf("a commit of a node that has joined again, without the mesh: %v", err)
	}
}

// TestNodeSparesOthersAfterOutage checks that a node whose own lease had run out does not remove at once a node that is
// not back yet: both may have been cut off from the database.
func TestNodeSparesOthersAfterOutage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	l := a.lease.Load()
	l.until.Store(1)
	eventually(t, "a renews its lease", a.Claimed)
	reaped(t, b, dsn)
	if after := system.Uptime() - time.Duration(l.back.Load()); after < spareAfter {
		t.Errorf("a node removed another one %s after its own lease had run out", after)
	}
}

// TestNodeSparesOthersAfterJump checks that a node does not remove another one at once when the clock of the database
// was set forward, so that all leases have run out.
func TestNodeSparesOthersAfterJump(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	l := a.lease.Load()
	expire(t, dsn)
	eventually(t, "a notices that its lease had run out", func() error {
		if l.back.Load() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	reaped(t, b, dsn)
	if after := system.Uptime() - time.Duration(l.back.Load()); after < spareAfter {
		t.Errorf("a node removed another one %s after its own lease had run out", after)
	}
}

// TestNewNodeSparesOthersAfterOutage checks that a node that joins does not remove at once a node whose lease has run
// out: an outage of the database may have just ended. It removes at once a node with its own address, which was
// restarted, and a broker that had the database alone.
func TestNewNodeSparesOthersAfterOutage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	migrated(t, dsn)
	execute(t, dsn, `INSERT INTO claudemesh.nodes (id, lease_until, pid, knows_schema, host, address)
		SELECT n, clock_timestamp(), 1, 8, 'gone', address FROM unnest(ARRAY['a:1', 'b:1', '']) WITH ORDINALITY AS x (address, n)`)
	began := system.Uptime()
	b := joined(t, dsn, "b:1")
	self, _ := b.Self()
	left := func() (list []string) {
		t.Helper()
		nodes, err := b.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n.ID != self {
				list = append(list, n.Address)
			}
		}
		return list
	}
	if got := left(); slices.Contains(got, "b:1") || slices.Contains(got, "") {
		t.Errorf("beside the node that has joined there are still %q", got)
	}
	eventually(t, "the other node is removed", func() error {
		if got := left(); len(got) > 0 {
			return fmt.Errorf("there is %q", got)
		}
		return nil
	})
	if after := system.Uptime() - began; after < spareAfter {
		t.Errorf("a node that joined removed another one after %s", after)
	}
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

// TestDeadNodeInTransaction checks that a process that is frozen in the middle of a transaction
// does not keep its meshes from the other nodes.
func TestDeadNodeInTransaction(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := joined(t, dsn, "a:1"), joined(t, dsn, "b:1")
	joined(t, dsn, "c:1") // removes it, too
	if err := errors.Join(a.own(t), commitOne(a, 1, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	tx := a.begin(t)
	if _, err := tx.Exec(t.Context(), `UPDATE claudemesh.deliveries SET name = 'late'`); err != nil {
		t.Fatal(err)
	}
	reaped(t, a, dsn)
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("a transaction of a node that was removed was committed")
	}
	eventually(t, "take the mesh", func() error { return b.own(t) })
	if err := commitOne(b, 2, 10*time.Second); err != nil {
		t.Error(err)
	}
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

// TestWrongClock checks that a node whose clock is wrong gets no meshes, and gives away those that it
// has, until the clock is right or no other clock agrees with the database's.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	var nodes [2]*Store
	var ahead [2]atomic.Int64
	for i := range nodes {
		nodes[i] = open(t, dsn)
		t.Cleanup(func() { nodes[i].Close() })
		nodes[i].Cluster(cluster.Self{Address: fmt.Sprintf("%d:1", i), PublicKey: []byte{}, Lease: time.Hour})
		nodes[i].wall = func() time.Time { return time.Now().Add(time.Duration(ahead[i].Load())) }
		if err := nodes[i].Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a, b := nodes[0], nodes[1]
	become := func(what string, aOff, bOff bool, aAhead, bAhead time.Duration) {
		t.Helper()
		ahead[0].Store(int64(aAhead))
		ahead[1].Store(int64(bAhead))
		eventually(t, what, func() error {
			list, err := a.Nodes(t.Context())
			if err != nil {
				return err
			}
			if list[0].ClockAhead.Round(time.Minute) != aAhead || list[1].ClockAhead.Round(time.Minute) != bAhead ||
				list[0].ClockOff != aOff || list[1].ClockOff != bOff || list[0].Takes() == aOff || list[1].Takes() == bOff ||
				a.Draining() != aOff || b.Draining() != bOff || (a.ClockAhead() == 0) == aOff || (b.ClockAhead() == 0) == bOff {
				return fmt.Errorf("the nodes are %+v", list)
			}
			return nil
		})
	}
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		if err := b.own(t); err != nil {
			t.Fatal(err)
		}
		become("a node with a wrong clock drains", false, true, 0, wrong)
		asked, err := b.Asked(t.Context())
		if err != nil || len(asked) != 1 {
			t.Errorf("it is asked for %v, %v", asked, err)
		}
		if err := b.Release(t.Context(), []wire.ID{box.Mesh}); err != nil {
			t.Fatal(err)
		}
		idB, _ := b.Self()
		if _, ok, err := a.Assign(t.Context(), box.Mesh, idB); ok || err != nil {
			t.Errorf("it got a mesh: %v, %v", ok, err)
		}
		become("the clock is right again", false, false, 0, 0)
	}
	become("the clock of the database is the wrong one", false, false, time.Hour, time.Hour)
}

// TestClockOfDatabaseIsSet checks that a node does not take its own clock for wrong when the clock of the
// database was set, and the other nodes have not renewed their leases since.
func TestClockOfDatabaseIsSet(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := migrated(t, dsn)
	execute(t, dsn, `INSERT INTO claudemesh.nodes (id, lease_until, pid, knows_schema, host, address)
		VALUES (-1, clock_timestamp() + interval '1 hour', 1, 1, 'x', 'b:1')`)
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	l := &lease{id: 1, shared: true}
	judged := func(when string, want time.Duration) {
		t.Helper()
		if err := s.judgeClock(t.Context(), conn.Conn(), l, time.Hour); err != nil || s.ClockAhead() != want {
			t.Errorf("%s the clock is %s ahead, %v; want %s", when, s.ClockAhead(), err, want)
		}
	}
	judged("before the other node has renewed its lease,", 0)
	execute(t, dsn, `UPDATE claudemesh.nodes SET clock_ahead = '1 hour'`)
	judged("after that,", 0)
	execute(t, dsn, `UPDATE claudemesh.nodes SET clock_ahead = '0'`)
	judged("once the other clock is right,", 0)
	judged("at the next renewal", time.Hour)
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
