package postgres

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage"
)

// addSilent adds a broker that has died just before the clock of the database was set back by an hour.
func addSilent(t *testing.T, dsn, address string) {
	t.Helper()
	execute(t, dsn, fmt.Sprintf(`INSERT INTO claudemesh.nodes (id, lease_until, pid, knows_schema, host, address)
		VALUES (-1, clock_timestamp() + interval '1 hour', 1, 1000, 'gone', '%s')`, address))
}

// TestSilentNode checks that a node that has died frees its meshes although the clock of the database was
// set back since, and that a node that lives is not taken for one.
func TestSilentNode(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	var nodes [2]*Store
	for i := range nodes {
		nodes[i] = open(t, dsn)
		t.Cleanup(func() { nodes[i].Close() })
		nodes[i].Cluster(cluster.Self{Address: fmt.Sprintf("%d:1", i), PublicKey: []byte{}})
		if err := nodes[i].Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[0].own(t); err != nil {
		t.Fatal(err)
	}
	addSilent(t, dsn, "dead:1")
	execute(t, dsn, `UPDATE claudemesh.mesh_owners SET node_id = -1`)
	eventually(t, "get the mesh of the dead node", func() error { return nodes[1].own(t) })
	for _, n := range nodes {
		if err := n.Claimed(); err != nil {
			t.Error(err)
		}
	}
}

// TestSilentBroker checks that a broker that waits for one that has died gets the database although its clock was
// set back since.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := migrated(t, dsn)
	addSilent(t, dsn, "")
	if err := s.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("claim at once: %v, want ErrInUse", err)
	}
	eventually(t, "get the database", func() error { return s.Claim(t.Context()) })
	if err := commitOne(s, 1, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestOldBrokerIsNotSilent checks that a broker whose program is too old to count its renewals keeps the
// database for as long as its lease runs.
func TestOldBrokerIsNotSilent(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := migrated(t, dsn)
	addSilent(t, dsn, "")
	execute(t, dsn, fmt.Sprintf(`UPDATE claudemesh.nodes SET knows_schema = %d`, nodesVersion))
	if err := s.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Fatalf("claim at once: %v, want ErrInUse", err)
	}
	seen := s.pulses.last[-1]
	seen.since -= time.Minute
	s.pulses.last[-1] = seen
	if err := s.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("claim after a minute: %v, want ErrInUse", err)
	}
}
