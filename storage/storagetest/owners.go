package storagetest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// own makes a node the owner of new meshes.
func own(t testing.TB, s Node, n int) []wire.ID {
	t.Helper()
	id, _ := s.Self()
	list := unowned(t, s, n)
	for _, m := range list {
		owner, ok, err := s.Assign(t.Context(), m, id)
		check(t, err)
		if !ok || owner != id {
			t.Fatalf("the mesh went to %d, %v", owner, ok)
		}
	}
	return list
}

// unowned makes meshes that no node owns.
func unowned(t testing.TB, s Node, n int) (list []wire.ID) {
	t.Helper()
	for range n {
		m, _ := newMesh(t, s)
		list = append(list, m.ID)
	}
	check(t, s.Release(t.Context(), list))
	return list
}

// lost checks that an operation failed because these meshes are not the node's.
func lost(t testing.TB, what string, err error, meshes ...wire.ID) {
	t.Helper()
	var l *journal.LostError
	if !errors.As(err, &l) || !slices.Equal(l.Meshes, meshes) {
		t.Errorf("%s: got %v, want that the meshes %v are lost", what, err, meshes)
	}
}

func ownerOf(t testing.TB, s Node, m wire.ID) int64 {
	t.Helper()
	id, ok, err := s.Owner(t.Context(), m)
	check(t, err)
	if !ok {
		return 0
	}
	return id
}

// testOneOwner checks that exactly one of several nodes that want a mesh at once gets it, and that
// all learn which.
func testOneOwner(t *testing.T, db Shared) {
	var nodes []Node
	for _, address := range []string{"a:1", "b:1", "c:1"} {
		n, _ := join(t, db, address)
		nodes = append(nodes, n)
	}
	for range 10 {
		m := unowned(t, nodes[0], 1)[0]
		heard := make([]int64, len(nodes))
		var wait sync.WaitGroup
		for i, n := range nodes {
			wait.Go(func() {
				id, _ := n.Self()
				owner, ok, err := n.Assign(t.Context(), m, id)
				if err != nil || !ok {
					t.Errorf("assign: %v, %v", ok, err)
				}
				heard[i] = owner
			})
		}
		wait.Wait()
		owner := ownerOf(t, nodes[0], m)
		equal(t, "what the nodes heard", heard, []int64{owner, owner, owner})
	}
}

func testAssign(t *testing.T, db Shared) {
	a, idA := join(t, db, "a:1")
	b, idB := join(t, db, "b:1")
	m := unowned(t, a, 1)[0]
	equal(t, "owner at first", ownerOf(t, a, m), 0)
	for range 2 {
		owner, ok, err := a.Assign(t.Context(), m, idB)
		check(t, err)
		if !ok || owner != idB {
			t.Errorf("assigned to %d, %v", owner, ok)
		}
	}
	if owner, _, err := a.Assign(t.Context(), m, idA); err != nil || owner != idB {
		t.Errorf("a mesh that has an owner was assigned to %d: %v", owner, err)
	}
	if _, ok, err := a.Assign(t.Context(), unowned(t, a, 1)[0], 4711); ok || err != nil {
		t.Errorf("assigned to nobody: %v, %v", ok, err)
	}
	if _, ok, err := a.Assign(t.Context(), newID(), idA); ok || !errors.Is(err, cluster.ErrNoMesh) {
		t.Errorf("a mesh that does not exist was assigned: %v, %v", ok, err)
	}
	commit(t, b, journal.Batch{Messages: messages(m, 1, "s/a")})
	equal(t, "owned", must[[]wire.ID](t)(b.Owned(t.Context(), 0)), []wire.ID{m})
	equal(t, "owned for an hour", len(must[[]wire.ID](t)(b.Owned(t.Context(), time.Hour))), 0)
}

// testCommitFenced checks that a batch is not stored if any part of it writes to a mesh of another
// node, and that the error names that mesh.
func testCommitFenced(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	b, _ := join(t, db, "b:1")
	mine, other := own(t, a, 1)[0], own(t, b, 1)[0]
	nobodys := newID()
	held := message(other, "s/a")
	commit(t, b, journal.Batch{Messages: []*queue.Accepted{held}})
	entry, _ := audit.Extend(audit.Head{}, audit.NewEvent(other, now, audit.Broker, audit.RoutedDetail{Message: newID()}))
	for name, batch := range map[string]journal.Batch{
		"a message":  {Messages: messages(other, 1, "s/a")},
		"settlement": {Settled: []queue.Settlement{settle(held, 0, queue.Delivered)}},
		"closing":    {Closed: []queue.Closing{{Mailbox: held.Recipients[0].Mailbox, At: now, Upto: held.Recipients[0].Seq}}},
		"presence":   {Presences: []presence.Record{{MeshID: other, Identity: "s/x", Status: wire.Idle}}},
		"audit":      {Audit: []audit.Entry{entry}},
		"hello":      {Hellos: []journal.Hello{{Mesh: other, At: now}}},
	} {
		also := message(mine, "s/"+name)
		batch.Messages = append(batch.Messages, also)
		_, err := a.Commit(t.Context(), &batch)
		lost(t, name, err, other)
		equal(t, "stored beside "+name, len(waiting(t, a, mine, "s/"+name)), 0)
	}
	_, err := a.Commit(t.Context(), &journal.Batch{Messages: append(messages(nobodys, 1, "s/a"), messages(other, 1, "s/a")...)})
	lost(t, "two meshes", err, slices.SortedFunc(slices.Values([]wire.ID{nobodys, other}), func(a, b wire.ID) int { return slices.Compare(a[:], b[:]) })...)
	equal(t, "the other's", states(t, b, held), []queue.State{queue.Pending})
	equal(t, "the other's mailbox", len(waiting(t, b, other, "s/a")), 1)
	commit(t, a, journal.Batch{Messages: messages(mine, 1, "s/a")})
	check(t, a.Ping(t.Context()))
}

func testMembershipFenced(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	b, _ := join(t, db, "b:1")
	m, owner := newMesh(t, a)
	inv := token(m.ID, 5)
	check(t, a.AddInvite(t.Context(), inv))
	lost(t, "add invite", b.AddInvite(t.Context(), token(m.ID, 1)), m.ID)
	lost(t, "update member", b.UpdateMember(t.Context(), owner), m.ID)
	lost(t, "revoke invite", b.RevokeInvite(t.Context(), m.ID, inv.ID, now), m.ID)
	_, _, err := b.Redeem(t.Context(), inv.ID, member(m.ID))
	lost(t, "redeem", err, m.ID)
	_, members, err := b.Mesh(t.Context(), m.ID)
	check(t, err)
	equal(t, "members", len(members), 1)
	_, _, err = a.Redeem(t.Context(), inv.ID, member(m.ID))
	check(t, errors.Join(err, a.RevokeInvite(t.Context(), m.ID, inv.ID, now), a.UpdateMember(t.Context(), owner)))
}

func testRelease(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	b, idB := join(t, db, "b:1")
	list := own(t, a, 3)
	check(t, a.Release(t.Context(), list[:2]))
	check(t, a.Release(t.Context(), list[:1])) // it is not ours any more
	check(t, b.Release(t.Context(), list[2:])) // it never was
	equal(t, "owned", must[[]wire.ID](t)(a.Owned(t.Context(), 0)), list[2:])
	_, err := a.Commit(t.Context(), &journal.Batch{Messages: messages(list[0], 1, "s/a")})
	lost(t, "commit after the release", err, list[0])
	if owner, _, err := b.Assign(t.Context(), list[0], idB); err != nil || owner != idB {
		t.Errorf("a mesh that was released went to %d: %v", owner, err)
	}
	commit(t, b, journal.Batch{Messages: messages(list[0], 1, "s/a")})
}

func testCreatorOwns(t *testing.T, db Shared) {
	a, idA := join(t, db, "a:1")
	m, _ := newMesh(t, a)
	equal(t, "owner", ownerOf(t, a, m.ID), idA)
	if err := a.CreateMesh(t.Context(), m, member(m.ID)); !errors.Is(err, mesh.ErrExists) {
		t.Errorf("created twice: %v", err)
	}
}

// sweepAll sweeps until nothing is left.
func sweepAll(t testing.TB, s Node, expire time.Time) {
	t.Helper()
	for must[int](t)(s.Sweep(t.Context(), expire, now.Add(-30*24*time.Hour), now, 2)) > 0 {
	}
}

// aged makes a message that is an hour old.
func aged(meshID wire.ID) *queue.Accepted {
	m := message(meshID, "s/a", "s/b")
	m.CreatedAt = now.Add(-time.Hour)
	return m
}

func testSweepOwn(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	b, _ := join(t, db, "b:1")
	mine, other := aged(own(t, a, 1)[0]), aged(own(t, b, 1)[0])
	commit(t, a, journal.Batch{Messages: []*queue.Accepted{mine}})
	commit(t, b, journal.Batch{Messages: []*queue.Accepted{other}})
	sweepAll(t, a, now)
	equal(t, "own", states(t, a, mine), []queue.State{queue.Expired, queue.Expired})
	equal(t, "of the other", states(t, a, other), []queue.State{queue.Pending, queue.Pending})
	sweepAll(t, b, now)
	equal(t, "of the other, swept by itself", states(t, a, other), []queue.State{queue.Expired, queue.Expired})
	wantBodies(t, db.Database, "0")
}

// testSweepLate checks that a node also sweeps old messages in meshes that it gets after a sweep,
// even if another node has had the mesh before.
func testSweepLate(t *testing.T, db Shared) {
	a, idA := join(t, db, "a:1")
	b, _ := join(t, db, "b:1")
	list := own(t, b, 2)
	var old []*queue.Accepted
	for _, m := range list {
		old = append(old, aged(m), aged(m))
	}
	commit(t, b, journal.Batch{Messages: old})
	own(t, a, 1)
	sweepAll(t, a, now)
	check(t, b.Release(t.Context(), list))
	for _, giver := range []Node{b, a} {
		_, _, err := giver.Assign(t.Context(), list[0], idA)
		check(t, err)
	}
	sweepAll(t, a, now)
	for _, m := range old {
		want := queue.Expired
		if m.MeshID == list[1] {
			want = queue.Pending
		}
		equal(t, "states", states(t, a, m), []queue.State{want, want})
	}
}

func testNeglected(t *testing.T, db Shared) {
	a, _ := join(t, db, "a:1")
	list := own(t, a, 4)
	young := message(list[3], "s/a")
	commit(t, a, journal.Batch{Messages: []*queue.Accepted{aged(list[0]), aged(list[1]), aged(list[2]), young}})
	equal(t, "while they are owned", len(must[[]wire.ID](t)(a.Neglected(t.Context(), now, 10))), 0)
	check(t, a.Release(t.Context(), list[1:]))
	equal(t, "neglected", must[[]wire.ID](t)(a.Neglected(t.Context(), now, 10)), list[1:3])
	equal(t, "at most one", must[[]wire.ID](t)(a.Neglected(t.Context(), now, 1)), list[1:2])
}
