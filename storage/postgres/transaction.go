package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Transaction runs do in a transaction, which fails if another process has claimed the
// database. It is for programs that fill the database.
func (s *Store) Transaction(ctx context.Context, do func(pgx.Tx) error) error {
	ctx, done, err := s.exclusive(ctx)
	if err != nil {
		return err
	}
	defer done()
	return wrap("change database", pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if l := s.lease.Load(); l != nil {
			if _, err := tx.Exec(ctx, requireLease, l.id); err != nil {
				return err
			}
		}
		return do(tx)
	}))
}
