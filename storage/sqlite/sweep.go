package sqlite

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

const (
	expireDeliveries = `UPDATE deliveries SET state = ?3, settled_at = ?2 WHERE (mesh_id, seq) IN (
		SELECT d.mesh_id, d.seq FROM messages m CROSS JOIN deliveries d ON d.message = m.no AND d.state = 0
		WHERE m.created_at >= ?5 AND m.created_at < ?1 ORDER BY m.created_at LIMIT ?4) RETURNING message`
	oldMessages = `SELECT no FROM messages m WHERE created_at < ?
		AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.no AND d.state = 0) ORDER BY created_at LIMIT ?`
)

var (
	deleteDeliveries = newBulk(`DELETE FROM deliveries WHERE message IN (`, 0, `)`)
	deleteMessages   = newBulk(`DELETE FROM messages WHERE no IN (`, 0, `)`)
)

// Sweep implements queue.Store. Finished messages are kept for days, so the search for
// deliveries to expire starts where the last search found nothing more. Only the bodies of
// expiring deliveries need deleting, because commits delete all other unneeded bodies.
func (s *Store) Sweep(ctx context.Context, expire, forget, now time.Time, limit int) (int, error) {
	from := s.swept.Load()
	if expire.UnixMilli() < from { // the clock was set back, or messages may wait longer
		from = 0
	}
	touched, found := 0, 0
	err := s.update(ctx, func(t tx) error {
		limit := max(limit, 0)
		rows, err := t.query(expireDeliveries, expire.UnixMilli(), now.UnixMilli(), int64(queue.Expired), limit, from)
		expired, err := collect(rows, err, scanNumber)
		if err != nil {
			return err
		}
		bodiless := make(map[int64]bool, len(expired))
		for _, no := range expired {
			bodiless[no] = true
		}
		if err := t.dropBodies(bodiless); err != nil {
			return err
		}
		rows, err = t.query(oldMessages, forget.UnixMilli(), limit)
		old, err := collect(rows, err, scanNumber)
		if err != nil {
			return err
		}
		touched, found = len(expired)+len(old), len(expired)
		return t.deleteMessages(old)
	})
	if err == nil && found < limit {
		s.swept.Store(expire.UnixMilli())
	}
	return touched, wrap("sweep", err)
}

// deleteMessages deletes messages without bodies, and their deliveries.
func (t tx) deleteMessages(numbers []int64) error {
	row := func(args []any, i int) []any { return append(args, numbers[i]) }
	if err := t.bulk(deleteDeliveries, len(numbers), row); err != nil {
		return err
	}
	return t.bulk(deleteMessages, len(numbers), row)
}

func scanNumber(r column.Row) (no int64, err error) {
	err = r.Scan(&no)
	return no, err
}
