package sqlite

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

const (
	recentHellos = `SELECT signature, at FROM hellos WHERE at >= ? ORDER BY at`
	forgetHellos = `DELETE FROM hellos WHERE at < ?`
)

var insertHellos = newBulk(`INSERT INTO hellos (signature, at) VALUES `, 2, ` ON CONFLICT DO NOTHING`)

func (t tx) putHellos(hellos []journal.Hello) error {
	return t.bulk(insertHellos, len(hellos), func(args []any, i int) []any {
		return append(args, hellos[i].Signature[:], hellos[i].At.UnixMilli())
	})
}

// Hellos implements journal.Store.
func (s *Store) Hellos(ctx context.Context, since time.Time) ([]journal.Hello, error) {
	rows, err := s.read.query(ctx, recentHellos, since.UnixMilli())
	list, err := collect(rows, err, column.ScanHello)
	return list, wrap("read hellos", err)
}

// ForgetHellos implements journal.Store.
func (s *Store) ForgetHellos(ctx context.Context, before time.Time) error {
	err := s.update(ctx, func(t tx) error {
		_, err := t.exec(forgetHellos, before.UnixMilli())
		return err
	})
	return wrap("forget hellos", err)
}
