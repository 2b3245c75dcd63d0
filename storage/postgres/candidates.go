package postgres

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

// Candidate is a broker that waits because another one has the database or its address, or can't work
// with the schema that the waiting one needs. It has no lease and no mesh, and Started is when it began to wait.
type Candidate struct {
	cluster.Node
	Reason string // why it waits, in words for people
}

const (
	// A waiting broker asks for the database several times a second. It says so once per
	// candidateEvery, and counts as waiting for candidateFresh after that.
	candidateEvery = 3 * time.Second
	candidateFresh = 10 * time.Second
)

const (
	upsertCandidate = `INSERT INTO claudemesh.candidates (id, pid, knows_schema, host, address, program, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), reason = excluded.reason`
	// deleteStale leaves out what another broker changes now: two that wait for each other gain nothing.
	deleteStale = `DELETE FROM claudemesh.candidates WHERE id IN
		(SELECT id FROM claudemesh.candidates WHERE seen_at <= clock_timestamp() - $1::interval FOR UPDATE SKIP LOCKED)`
	deleteCandidate = `DELETE FROM claudemesh.candidates WHERE id = $1`
	freshCandidates = `SELECT id, address, ''::bytea, program, host, pid, knows_schema, started_at, false, false, false, false, interval '0', 0, 0, reason
		FROM claudemesh.candidates WHERE seen_at > clock_timestamp() - $1::interval ORDER BY started_at, id`
)

// candidacy is this broker's row among the candidates.
type candidacy struct {
	id int64     // 0: there is none
	at time.Time // of the last attempt to write it
}

// publishCandidateLocked publishes that this broker waits, and why. Whether that succeeds does not
// matter to the broker.
func (s *Store) publishCandidateLocked(ctx context.Context, why error) {
	c := &s.candidacy
	if c.id != 0 && time.Since(c.at) < candidateEvery {
		return
	}
	if c.id == 0 {
		c.id = rand.Int64()
	}
	c.at = time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	host, self := s.publishes()
	b := &pgx.Batch{}
	b.Queue(upsertCandidate, c.id, os.Getpid(), len(migrations), column.Text(host), column.Text(self.Address), column.Text(self.Version), column.Text(why.Error()))
	b.Queue(deleteStale, candidateFresh)
	_ = s.pool.SendBatch(ctx, b).Close()
}

// removeCandidateLocked removes the row of a broker that closes.
func (s *Store) removeCandidateLocked() {
	if s.candidacy.id == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	_, _ = s.pool.Exec(ctx, deleteCandidate, s.candidacy.id) // otherwise it soon counts no more
}

// Candidates lists the brokers that wait, in the order in which they came.
func (s *Store) Candidates(ctx context.Context) ([]Candidate, error) {
	ctx, done := s.scope(ctx)
	defer done()
	var list []Candidate
	rows, err := s.pool.Query(ctx, freshCandidates, candidateFresh)
	if err == nil {
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Candidate])
	}
	if violated(err, undefinedTable) { // the schema is older
		return nil, nil
	}
	return list, wrap("list waiting brokers", err)
}
