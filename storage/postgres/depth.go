package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// depth reads the indexes of pending deliveries and nothing of settled ones. A message has
// a body as long as somebody waits for it. Ids are in the order of acceptance.
const depth = `SELECT (SELECT count(*) FROM claudemesh.deliveries WHERE state = 0),
	(SELECT message_id FROM claudemesh.bodies ORDER BY message_id LIMIT 1)`

// Depth implements broker.Storage.
func (s *Store) Depth(ctx context.Context) (d queue.Depth, err error) {
	var oldest wire.ID
	err = s.row(ctx, func(r pgx.Row) error { return r.Scan(&d.Deliveries, column.IntoID(&oldest)) }, depth)
	if err == nil && !oldest.IsZero() {
		d.Oldest = oldest.Time()
	}
	return d, wrap("add up the queues", err)
}
