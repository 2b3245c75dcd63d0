package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/storage"
)

const (
	// endAfter is how long a transaction of a node without a lease may continue before the
	// server ends its connection. The process may be frozen in the middle of it.
	endAfter = time.Second
	// lockAgain is the pause between attempts to get the lock of such a node.
	lockAgain = 20 * time.Millisecond
)

// Node is a broker that has, or had, the database.
type Node struct {
	ID      int64
	Host    string
	PID     int
	Schema  int // the newest version that it knows
	Started time.Time
	Live    bool // its lease runs
}

// Nodes returns the brokers that have, or had, the database. At most one of them has a
// running lease.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	ctx, done := s.scope(ctx)
	defer done()
	list, err := nodesOf(ctx, s.pool)
	if violated(err, undefinedTable) { // no broker has created the table yet
		return nil, nil
	}
	return list, wrap("list nodes", err)
}

// String describes the node for people.
func (n Node) String() string {
	return fmt.Sprintf("process %d on host %s, started %s", n.PID, n.Host, n.Started.UTC().Format(time.RFC3339))
}

func nodesOf(ctx context.Context, q interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}) ([]Node, error) {
	rows, err := q.Query(ctx, `SELECT id, host, pid, knows_schema, started_at, lease_until > clock_timestamp()
		FROM claudemesh.nodes ORDER BY started_at, id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Node])
}

// remove removes a node whose lease has run out, so that none of its transactions can
// commit any more. It returns storage.ErrInUse if the node has renewed its lease.
func remove(ctx context.Context, tx pgx.Tx, n Node) error {
	if err := lockOf(ctx, tx, n); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `DELETE FROM claudemesh.nodes WHERE id = $1 AND lease_until <= clock_timestamp()`, n.ID)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s", storage.ErrInUse, n)
	}
	return nil
}

// lockOf takes the lock of a node. It waits until the transactions that have passed
// require_lease have ended.
func lockOf(ctx context.Context, tx pgx.Tx, n Node) error {
	began := time.Now()
	for {
		var got bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, n.ID).Scan(&got); err != nil || got {
			return err
		}
		if time.Since(began) > endAfter {
			if err := endTransactions(ctx, tx, n); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a transaction of %s does not end: %w", n, ctx.Err())
		case <-time.After(lockAgain):
		}
	}
}

// endTransactions makes the server close the connections that hold the lock of a node.
func endTransactions(ctx context.Context, tx pgx.Tx, n Node) error {
	_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = $1
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`, n.ID)
	if err != nil {
		return fmt.Errorf("end the transactions of %s: %w", n, err)
	}
	return nil
}
