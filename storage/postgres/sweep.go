package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	expireDeliveries = `WITH change AS (
			SELECT d.ctid FROM (SELECT mesh_id, id FROM claudemesh.messages WHERE created_at >= $4 AND created_at < $1 ORDER BY created_at) m
			CROSS JOIN LATERAL (SELECT d.ctid FROM claudemesh.deliveries d
				WHERE d.mesh_id = m.mesh_id AND d.message_id = m.id AND d.state < 1 OFFSET 0) d
			LIMIT $3),
		gone AS (
			UPDATE claudemesh.deliveries SET state = 2, settled_at = $2
			WHERE ctid = ANY (ARRAY (SELECT ctid FROM change)) RETURNING seq, mesh_id, message_id),
		dropped AS (` + dropBodies + `)
		SELECT count(*) FROM gone`
	deleteMessages = `WITH old AS (
			SELECT m.ctid, m.mesh_id, m.id FROM claudemesh.messages m
			WHERE m.created_at < $1 AND NOT EXISTS (SELECT FROM claudemesh.deliveries d
				WHERE d.mesh_id = m.mesh_id AND d.message_id = m.id AND d.state < 1 OFFSET 0)
			ORDER BY m.created_at LIMIT $2),
		parts AS (
			SELECT d.ctid FROM old CROSS JOIN LATERAL (SELECT d.ctid FROM claudemesh.deliveries d
				WHERE d.mesh_id = old.mesh_id AND d.message_id = old.id OFFSET 0) d),
		deleted AS (DELETE FROM claudemesh.deliveries WHERE ctid = ANY (ARRAY (SELECT ctid FROM parts)))
		DELETE FROM claudemesh.messages WHERE ctid = ANY (ARRAY (SELECT ctid FROM old))`
)

// Sweep implements queue.Store. Finished messages are kept for days, so the search for
// deliveries to expire starts where the last search found nothing more. Only the bodies of
// expiring deliveries need deleting, because commits delete all other unneeded bodies.
func (s *Store) Sweep(ctx context.Context, expire, forget, now time.Time, limit int) (int, error) {
	ctx, done, err := s.exclusive(ctx)
	if err != nil {
		return 0, wrap("sweep", err)
	}
	defer done()
	var expired, deleted int64
	b := s.batch()
	from := s.swept.Load()
	if expire.UnixMilli() < from { // the clock was set back, or messages may wait longer
		from = 0
	}
	b.Queue(expireDeliveries, expire.UnixMilli(), now.UnixMilli(), max(limit, 0), from).
		QueryRow(func(r pgx.Row) error { return r.Scan(&expired) })
	b.Queue(deleteMessages, forget.UnixMilli(), max(limit, 0)).Exec(counting(&deleted))
	err = s.pool.SendBatch(ctx, b).Close()
	if err == nil && expired < int64(limit) {
		s.swept.Store(expire.UnixMilli())
	}
	return int(expired + deleted), wrap("sweep", err)
}
