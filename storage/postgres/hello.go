package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

const (
	insertHellos = `INSERT INTO claudemesh.hellos (signature, at)
		SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING`
	recentHellos = `SELECT signature, at FROM claudemesh.hellos WHERE at >= $1 ORDER BY at`
	forgetHellos = `DELETE FROM claudemesh.hellos WHERE at < $1`
)

// queueHellos adds the statement that remembers hellos.
func queueHellos(b *pgx.Batch, hellos []journal.Hello) {
	if len(hellos) == 0 {
		return
	}
	b.Queue(insertHellos,
		blobs(hellos, func(h journal.Hello) []byte { return h.Signature[:] }),
		bigints(hellos, func(h journal.Hello) int64 { return h.At.UnixMilli() }))
}

// Hellos implements journal.Store.
func (s *Store) Hellos(ctx context.Context, since time.Time) ([]journal.Hello, error) {
	list, err := collect(ctx, s, column.ScanHello, recentHellos, since.UnixMilli())
	return list, wrap("read hellos", err)
}

// ForgetHellos implements journal.Store.
func (s *Store) ForgetHellos(ctx context.Context, before time.Time) error {
	ctx, done := s.scope(ctx)
	defer done()
	_, err := s.pool.Exec(ctx, forgetHellos, before.UnixMilli())
	return wrap("forget hellos", err)
}
