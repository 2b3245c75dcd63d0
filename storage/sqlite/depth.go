package sqlite

import (
	"context"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

// depth counts the pending deliveries by their index. Only a message with a pending
// delivery has a row in bodies, so the lowest message number in bodies belongs to the
// oldest waiting message.
const depth = `SELECT (SELECT count(*) FROM deliveries INDEXED BY deliveries_pending WHERE state = 0),
	(SELECT created_at FROM messages WHERE no = (SELECT min(message) FROM bodies))`

// Depth implements broker.Storage.
func (s *Store) Depth(ctx context.Context) (d queue.Depth, err error) {
	err = s.read.row(ctx, depth).Scan(&d.Deliveries, column.IntoTime(&d.Oldest))
	return d, wrap("add up the queues", err)
}
