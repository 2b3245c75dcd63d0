package postgres

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage"
)

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

// sparedLong waits until the node with a lease has removed another node, and checks that it has spared it before.
func sparedLong(t *testing.T, l *lease, other *Store, dsn string) {
	t.Helper()
	reaped(t, other, dsn)
	if after := system.Uptime() - time.Duration(l.back.Load()); after < spareAfter {
		t.Errorf("a node removed another one %s after its own lease had run out", after)
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
	sparedLong(t, l, b, dsn)
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
	sparedLong(t, l, b, dsn)
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
