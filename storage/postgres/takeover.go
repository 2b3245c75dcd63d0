package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage"
)

const (
	// endAfter is how long a transaction of a node without a lease may continue before the
	// server ends its connection. The process may be frozen in the middle of it.
	endAfter = time.Second
	// lockAgain is the pause between attempts to get the lock of such a node.
	lockAgain = 20 * time.Millisecond
)

// Nodes lists the brokers that have, or had, the database: the nodes of a cluster, or a
// broker that has it alone.
func (s *Store) Nodes(ctx context.Context) ([]cluster.Node, error) {
	ctx, done := s.scope(ctx)
	defer done()
	list, err := nodesOf(ctx, s.pool, clusterNodes)
	if violated(err, undefinedColumn) || violated(err, undefinedTable) { // the schema is older
		list, err = nodesOf(ctx, s.pool, anyNodes)
	}
	if violated(err, undefinedTable) { // no broker has created the table yet
		return nil, nil
	}
	return list, wrap("list nodes", err)
}

const (
	// anyNodes works with every schema from nodesVersion on.
	anyNodes = bareNodes + `0` + inOrder
	// nodeLeases tells of the leases alone.
	nodeLeases   = bareNodes + `renewals` + inOrder
	bareNodes    = `SELECT id, '', ''::bytea, '', host, pid, knows_schema, started_at, lease_until > clock_timestamp(), false, false, false, interval '0', 0, `
	inOrder      = ` FROM claudemesh.nodes ORDER BY started_at, id`
	clusterNodes = `SELECT n.id, address, public_key, program, host, pid, knows_schema, started_at,
			lease_until > clock_timestamp(), draining, elsewhere, clock_off, clock_ahead,
			(SELECT count(*) FROM claudemesh.mesh_owners o WHERE o.node_id = n.id), renewals
		FROM claudemesh.nodes n ORDER BY started_at, id`
)

func nodesOf(ctx context.Context, q querier, query string) ([]cluster.Node, error) {
	rows, err := q.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[cluster.Node])
}

// remove removes a node whose lease has run out, or that has fallen silent, so that none of its
// transactions can commit any more. It returns storage.ErrInUse if the node has renewed its lease.
func (s *Store) remove(ctx context.Context, tx pgx.Tx, n cluster.Node) error {
	if err := lockOf(ctx, tx, n); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `DELETE FROM claudemesh.nodes WHERE id = $1 AND (lease_until <= clock_timestamp() OR $2 AND renewals = $3)`,
		n.ID, s.isSilent(n), n.Renewals)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: %s", storage.ErrInUse, n)
	}
	return announce(ctx, tx)
}

// lockOf takes the lock of a node. It waits until the transactions that have passed
// require_lease have ended.
func lockOf(ctx context.Context, tx pgx.Tx, n cluster.Node) error {
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
func endTransactions(ctx context.Context, tx pgx.Tx, n cluster.Node) error {
	_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = $1
			AND mode = 'ShareLock' -- not another node that removes it
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()`, n.ID)
	if err != nil {
		return fmt.Errorf("end the transactions of %s: %w", n, err)
	}
	return nil
}
