package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockTolerance is how far a node's clock may differ from the database's: half of what the
// timestamp of a hello may be off.
const clockTolerance = 30 * time.Second

// clockIsRight tells whether the clock of another node agrees with the database's.
const clockIsRight = `SELECT EXISTS (SELECT FROM claudemesh.nodes
	WHERE id <> $1 AND address <> '' AND lease_until > clock_timestamp() AND clock_ahead BETWEEN $2 AND $3)`

// judgeClock notes whether this node's clock is wrong: it differs from the database's, and
// that of another node does not. If all nodes differ, the database's clock may be the wrong one.
// It takes two renewals to find that out: if the database's clock was just set, the others differ only
// from their next renewal on.
func (s *Store) judgeClock(ctx context.Context, conn *pgx.Conn, l *lease, ahead time.Duration) error {
	seems := false
	if l.shared && ahead.Abs() > clockTolerance {
		if err := conn.QueryRow(ctx, clockIsRight, l.id, -clockTolerance, clockTolerance).Scan(&seems); err != nil {
			return err
		}
	}
	seemed := l.clockOff
	l.clockOff = seems
	if !seems || !seemed {
		ahead = 0
	}
	if was := s.clockAhead.Swap(int64(ahead)); (was == 0) != (ahead == 0) {
		s.watch.tell()
	}
	return nil
}

// ClockAhead implements cluster.Store. The next renewal of the lease publishes that the clock
// is wrong.
func (s *Store) ClockAhead() time.Duration { return time.Duration(s.clockAhead.Load()) }
