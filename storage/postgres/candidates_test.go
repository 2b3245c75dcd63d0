package postgres

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage"
)

// TestCandidates checks that operators see the brokers that wait, and why, as long as they wait: a node
// whose address a live node has, and a broker that wants the database alone.
func TestCandidates(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	operator := open(t, dsn)
	defer operator.Close()
	if list, err := operator.Candidates(t.Context()); len(list) > 0 || err != nil {
		t.Fatalf("candidates of an empty database: %+v, %v", list, err)
	}
	a, same, alone := joined(t, dsn, "a:1"), open(t, dsn), open(t, dsn)
	defer same.Close()
	defer alone.Close()
	same.Cluster(cluster.Self{Address: "a:1", PublicKey: []byte{}, Version: "v2"})
	waits := func(s *Store) {
		t.Helper()
		s.candidacy.at = time.Time{} // it may write again
		if err := s.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
			t.Fatalf("claim: %v", err)
		}
	}
	want := func(reasons ...string) []Candidate {
		t.Helper()
		list, err := operator.Candidates(t.Context())
		if err != nil || len(list) != len(reasons) {
			t.Fatalf("candidates %+v, %v; want %q", list, err, reasons)
		}
		for i, c := range list {
			if !strings.Contains(c.Reason, reasons[i]) || c.PID != os.Getpid() || c.Schema != len(migrations) || c.Live || c.Takes() {
				t.Errorf("candidate %+v, want %q", c, reasons[i])
			}
		}
		return list
	}

	waits(same)
	first := want("advertises the same address a:1")[0]
	if first.Address != "a:1" || first.Version != "v2" || time.Since(first.Started).Abs() > time.Minute {
		t.Errorf("candidate %+v", first)
	}
	waits(alone)
	waits(same)
	if again := want("advertises the same address a:1", "is a node of a cluster, and this broker is not")[0]; again.ID != first.ID || !again.Started.Equal(first.Started) {
		t.Errorf("after another attempt %+v, before %+v", again, first)
	}
	if nodes, err := operator.Nodes(t.Context()); len(nodes) != 1 || err != nil {
		t.Errorf("nodes %+v, %v", nodes, err)
	}

	execute(t, dsn, `UPDATE claudemesh.candidates SET seen_at = seen_at - interval '10 s'`)
	want()
	waits(alone)
	want("is a node of a cluster, and this broker is not")
	execute(t, dsn, `UPDATE claudemesh.candidates SET seen_at = clock_timestamp()`)
	want("is a node of a cluster, and this broker is not") // the other row is gone
	waits(same)
	if err := errors.Join(alone.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	want("advertises the same address a:1")
	if err := same.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	want()
}

// TestCandidateIsQuiet checks that a broker that asks often writes seldom, and that it goes on without the
// table.
func TestCandidateIsQuiet(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	claimed(t, dsn)
	s := open(t, dsn)
	defer s.Close()
	claim := func() {
		t.Helper()
		if err := s.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
			t.Fatalf("claim: %v", err)
		}
	}
	claim()
	execute(t, dsn, `DELETE FROM claudemesh.candidates`)
	s.candidacy.at = time.Now().Add(time.Hour) // the claim comes too early, however long it takes
	claim()
	if list, err := s.Candidates(t.Context()); len(list) > 0 || err != nil {
		t.Errorf("candidates %+v, %v", list, err)
	}
	execute(t, dsn, `DROP TABLE claudemesh.candidates`)
	s.candidacy.at = time.Time{}
	claim()
}
