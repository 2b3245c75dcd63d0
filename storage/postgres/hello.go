package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	insertHellos = `INSERT INTO claudemesh.hellos (mesh_id, signature, at)
		SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bigint[]) ON CONFLICT DO NOTHING`
	// recentHellos selects the hellos of the mesh, and those stored by an older broker,
	// which did not store the mesh: the migration gave them the zero id.
	recentHellos = `SELECT mesh_id, signature, at FROM claudemesh.hellos
		WHERE mesh_id IN ($1, '00000000-0000-0000-0000-000000000000') AND at >= $2 ORDER BY at`
	forgetHellos = `DELETE FROM claudemesh.hellos WHERE at < $1`
)

// queueHellos adds the statement that stores hellos.
func queueHellos(b *pgx.Batch, hellos []journal.Hello) {
	if len(hellos) == 0 {
		return
	}
	b.Queue(insertHellos,
		uuids(hellos, func(h journal.Hello) wire.ID { return h.Mesh }),
		blobs(hellos, func(h journal.Hello) []byte { return h.Signature[:] }),
		bigints(hellos, func(h journal.Hello) int64 { return h.At.UnixMilli() }))
}

// Hellos implements journal.Store.
func (s *Store) Hellos(ctx context.Context, meshID wire.ID, since time.Time) ([]journal.Hello, error) {
	list, err := collect(ctx, s, column.ScanHello, recentHellos, uuid(meshID), since.UnixMilli())
	return list, wrap("read hellos", err)
}

// ForgetHellos implements journal.Store.
func (s *Store) ForgetHellos(ctx context.Context, before time.Time) error {
	_, err := s.exec(ctx, nil, forgetHellos, before.UnixMilli())
	return wrap("forget hellos", err)
}
