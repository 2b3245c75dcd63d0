package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// due are deliveries to expire: $1 is the time before which their messages were
	// created, $3 their greatest number, and $4 the time from which to search.
	due = `SELECT d.ctid FROM (SELECT mesh_id, id FROM claudemesh.messages m WHERE created_at >= $4 AND created_at < $1`
	// dueOfNode limits due to the meshes of the node $5: the owner of a mesh alone settles
	// its deliveries.
	dueOfNode = ` AND EXISTS (SELECT FROM claudemesh.mesh_owners o WHERE o.mesh_id = m.mesh_id AND o.node_id = $5 OFFSET 0)`
	dueRows   = ` ORDER BY created_at) m
			CROSS JOIN LATERAL (SELECT d.ctid FROM claudemesh.deliveries d
				WHERE d.mesh_id = m.mesh_id AND d.message_id = m.id AND d.state < 1 OFFSET 0) d`
	// dueInMeshes are those in the meshes $4 of the node $5, whenever their messages were
	// created.
	dueInMeshes = `SELECT d.ctid FROM unnest($4::uuid[]) AS u (mesh_id)
			CROSS JOIN LATERAL (SELECT mesh_id FROM claudemesh.mesh_owners o WHERE o.mesh_id = u.mesh_id AND o.node_id = $5 OFFSET 0) o
			CROSS JOIN LATERAL (SELECT w.ctid, w.sender_member, w.message_id FROM claudemesh.deliveries w
				WHERE w.mesh_id = o.mesh_id AND w.state = 0 OFFSET 0) d
			CROSS JOIN LATERAL (SELECT FROM claudemesh.messages m
				WHERE m.mesh_id = o.mesh_id AND m.sender_member = d.sender_member AND m.id = d.message_id AND m.created_at < $1 OFFSET 0) m`
	expiring = ` LIMIT $3),
		gone AS (
			UPDATE claudemesh.deliveries SET state = 2, settled_at = $2
			WHERE ctid = ANY (ARRAY (SELECT ctid FROM change)) RETURNING seq, mesh_id, message_id),
		dropped AS (` + dropBodies + `)
		SELECT count(*) FROM gone`
	expireDeliveries = `WITH change AS (` + due + dueRows + expiring
	expireOfNode     = `WITH change AS (` + due + dueOfNode + dueRows + expiring
	expireInMeshes   = `WITH change AS (` + dueInMeshes + expiring

	// myTurn is true for one transaction at a time. What has ended may be deleted by any
	// node.
	myTurn         = `(SELECT pg_try_advisory_xact_lock(7161127435829133829))`
	deleteMessages = `WITH old AS (
			SELECT m.ctid, m.mesh_id, m.id FROM claudemesh.messages m
			WHERE ` + myTurn + ` AND m.created_at < $1 AND NOT EXISTS (SELECT FROM claudemesh.deliveries d
				WHERE d.mesh_id = m.mesh_id AND d.message_id = m.id AND d.state < 1 OFFSET 0)
			ORDER BY m.created_at LIMIT $2),
		parts AS (
			SELECT d.ctid FROM old CROSS JOIN LATERAL (SELECT d.ctid FROM claudemesh.deliveries d
				WHERE d.mesh_id = old.mesh_id AND d.message_id = old.id OFFSET 0) d),
		deleted AS (DELETE FROM claudemesh.deliveries WHERE ctid = ANY (ARRAY (SELECT ctid FROM parts)))
		DELETE FROM claudemesh.messages WHERE ctid = ANY (ARRAY (SELECT ctid FROM old))`
)

// Sweep implements queue.Store. Finished messages are kept for days, so the search for
// deliveries to expire starts where the last search found nothing more; in the meshes that
// this node has got since, all are searched. Only the bodies of expiring deliveries need
// deleting, because commits delete all other unneeded bodies.
func (s *Store) Sweep(ctx context.Context, expire, forget, now time.Time, limit int) (int, error) {
	ctx, done, err := s.exclusive(ctx)
	if err != nil {
		return 0, wrap("sweep", err)
	}
	defer done()
	var expired, caughtUp, deleted int64
	b := s.batch()
	from := s.swept.Load()
	if expire.UnixMilli() < from { // the clock was set back, or messages may wait longer
		from = 0
	}
	var fresh []wire.ID
	if l := s.lease.Load(); l == nil || !l.shared {
		b.Queue(expireDeliveries, expire.UnixMilli(), now.UnixMilli(), max(limit, 0), from).QueryRow(scanCount(&expired))
	} else {
		fresh = s.fresh.list()
		b.Queue(expireOfNode, expire.UnixMilli(), now.UnixMilli(), max(limit, 0), from, l.id).QueryRow(scanCount(&expired))
		b.Queue(expireInMeshes, expire.UnixMilli(), now.UnixMilli(), max(limit, 0), uuids(fresh, func(id wire.ID) wire.ID { return id }), l.id).
			QueryRow(scanCount(&caughtUp))
	}
	b.Queue(deleteMessages, forget.UnixMilli(), max(limit, 0)).Exec(counting(&deleted))
	err = s.pool.SendBatch(ctx, b).Close()
	if err == nil && expired < int64(limit) {
		s.swept.Store(expire.UnixMilli())
	}
	if err == nil && caughtUp < int64(limit) {
		s.fresh.remove(fresh)
	}
	return int(expired + caughtUp + deleted), wrap("sweep", err)
}

func scanCount(n *int64) func(pgx.Row) error {
	return func(r pgx.Row) error { return r.Scan(n) }
}
