package sqlite

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// recentHellos selects the hellos of the mesh, and those stored by an older broker,
	// which did not store the mesh: the migration gave them the zero id.
	recentHellos = `SELECT mesh_id, signature, at FROM hellos
		WHERE mesh_id IN (?, zeroblob(16)) AND at >= ? ORDER BY at`
	forgetHellos = `DELETE FROM hellos WHERE at < ?`
)

var insertHellos = newBulk(`INSERT INTO hellos (mesh_id, signature, at) VALUES `, 3, ` ON CONFLICT DO NOTHING`)

func (t tx) putHellos(hellos []journal.Hello) error {
	return t.bulk(insertHellos, len(hellos), func(args []any, i int) []any {
		return append(args, hellos[i].Mesh[:], hellos[i].Signature[:], hellos[i].At.UnixMilli())
	})
}

// Hellos implements journal.Store.
func (s *Store) Hellos(ctx context.Context, meshID wire.ID, since time.Time) ([]journal.Hello, error) {
	rows, err := s.read.query(ctx, recentHellos, meshID[:], since.UnixMilli())
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
