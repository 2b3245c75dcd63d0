package postgres

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/wire"
)

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
