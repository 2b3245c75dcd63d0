package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/plan"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// Rows to insert come as columns that are unnested side by side in the SELECT list. An
	// unnest of all of them in FROM first copies each column, and then the rows, in
	// memory, which takes a quarter longer.
	insertMessages = `INSERT INTO claudemesh.messages (id, mesh_id, sender_member, sender_member_key, sender_key, sender_name,
			target_spec, priority, created_at, client_id, fingerprint, topic, reply_to, mentions, body_version, key_epoch, settled)
		SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::bytea[]), unnest($5::bytea[]),
			unnest($6::text[]), unnest($7::text[]), unnest($8::text[]), unnest($9::bigint[]), unnest($10::text[]),
			unnest($11::text[]), unnest($12::text[]), unnest($13::text[]), unnest($14::text[]), unnest($15::bigint[]),
			unnest($16::bigint[]), unnest($17::bytea[])`
	insertBodies = `INSERT INTO claudemesh.bodies (mesh_id, message_id, nonce, ciphertext, sender_attestation)
		SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::text[]), unnest($5::bytea[])`
	insertDeliveries = `INSERT INTO claudemesh.deliveries (seq, mesh_id, sender_member, message_id, mailbox, urgent, key, name,
			same_member, state)
		SELECT unnest($1::bigint[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::uuid[]), unnest($5::text[]),
			unnest($6::boolean[]), unnest($7::bytea[]), unnest($8::text[]), unnest($9::boolean[]), 0`
	raiseMarks = `INSERT INTO claudemesh.mesh_marks AS k (mesh_id, last_seq, last_message)
		SELECT unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::uuid[])
		ON CONFLICT (mesh_id) DO UPDATE SET last_seq = greatest(k.last_seq, excluded.last_seq),
			last_message = greatest(k.last_message, excluded.last_message)`

	// Rows to change are looked up one by one in a LATERAL subquery that can't become a
	// join, and are changed by their ctid, so the plan is the same for tables of any size.
	// The migration explains why some conditions say state < 1. Nobody else changes the
	// rows in between; see Store.writes.

	// dropBodies follows a CTE "gone", which contains the deliveries that leave Pending in
	// the same statement. The statement sees these deliveries as they were before.
	dropBodies = ` DELETE FROM claudemesh.bodies WHERE ctid = ANY (ARRAY (
		SELECT body.ctid FROM (SELECT DISTINCT mesh_id, message_id FROM gone) g
		CROSS JOIN LATERAL (SELECT b.ctid FROM claudemesh.bodies b
			WHERE b.mesh_id = g.mesh_id AND b.message_id = g.message_id LIMIT 1) body
		WHERE NOT EXISTS (SELECT FROM claudemesh.deliveries d
			WHERE d.mesh_id = g.mesh_id AND d.message_id = g.message_id AND d.state < 1
				AND (d.mesh_id, d.seq) NOT IN (SELECT mesh_id, seq FROM gone) OFFSET 0)))`
	settle = `WITH change AS (
			SELECT d.ctid, s.state, s.at FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::bigint[]) AS s (mesh_id, seq, state, at)
			CROSS JOIN LATERAL (SELECT d.ctid FROM claudemesh.deliveries d
				WHERE d.mesh_id = s.mesh_id AND d.seq = s.seq AND d.state < 1 LIMIT 1) d),
		gone AS (
			UPDATE claudemesh.deliveries d SET state = change.state, settled_at = change.at FROM change
			WHERE d.ctid = change.ctid RETURNING d.seq, d.mesh_id, d.message_id)` + dropBodies
	closeMailboxes = `WITH change AS (
			SELECT d.ctid, c.at FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) AS c (mesh_id, mailbox, at, upto)
			CROSS JOIN LATERAL (SELECT d.ctid FROM claudemesh.deliveries d
				WHERE d.mesh_id = c.mesh_id AND d.mailbox = c.mailbox AND d.state = 0 AND d.seq <= c.upto OFFSET 0) d),
		gone AS (
			UPDATE claudemesh.deliveries d SET state = 3, settled_at = change.at FROM change
			WHERE d.ctid = change.ctid RETURNING d.seq, d.mesh_id, d.message_id)` + dropBodies

	// originals finds the ids under which messages are stored, by the messages' own ids or
	// their client keys.
	originals = `SELECT k.n, coalesce(same.id, keyed.id) FROM
			unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) WITH ORDINALITY AS k (id, mesh_id, member, client_id, n)
		LEFT JOIN LATERAL (SELECT m.id FROM claudemesh.messages m
			WHERE m.mesh_id = k.mesh_id AND m.sender_member = k.member AND m.id = k.id LIMIT 1) same ON true
		LEFT JOIN LATERAL (SELECT m.id FROM claudemesh.messages m
			WHERE m.mesh_id = k.mesh_id AND m.sender_member = k.member AND m.client_id = k.client_id
				AND m.client_id <> '' LIMIT 1) keyed ON true
		WHERE same.id IS NOT NULL OR keyed.id IS NOT NULL`
)

// A message violates these constraints if it is already stored.
const (
	messagesKey    = "messages_pkey"
	messagesClient = "messages_client"
)

// Commit implements journal.Store. It skips a message whose id is already stored, without
// reporting it, so that a caller can repeat a batch of unknown fate.
//
// Commit assumes that all messages are new, so that one round trip is enough. If Postgres
// reports that some are not, Commit looks them up and tries again without them.
func (s *Store) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	ctx, done, err := s.exclusive(ctx)
	if err != nil {
		return nil, wrap("commit", err)
	}
	defer done()
	sorted := plan.SortMessages(b.Messages)
	indexes := sorted.New
	stored := map[int]wire.ID{}
	for {
		err := s.commit(ctx, b, indexes)
		s.failing.Store(err != nil && constraint(err) == "")
		switch constraint(err) {
		case entriesKey:
			return nil, wrap("commit", journal.ErrForked)
		case messagesKey, messagesClient:
			found, lookup := s.originals(ctx, b.Messages, indexes)
			if lookup != nil || len(found) == 0 {
				return nil, wrap("commit", errors.Join(err, lookup))
			}
			for i, original := range found {
				stored[i] = original
			}
			indexes = slices.DeleteFunc(slices.Clone(indexes), func(i int) bool { _, ok := found[i]; return ok })
			continue
		}
		if err != nil {
			return nil, wrap("commit", err)
		}
		return sorted.Duplicates(b.Messages, stored), nil
	}
}

// constraint returns the name of the unique constraint that was violated according to err.
func constraint(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == uniqueViolation {
		return e.ConstraintName
	}
	return ""
}

// commit writes a batch, but only the messages with the given indexes.
func (s *Store) commit(ctx context.Context, b *journal.Batch, indexes []int) error {
	// A pipeline is one transaction: at its end Postgres commits all or nothing.
	p := s.batch(s.written(b)...)
	queueMessages(p, each(indexes, func(i int) *queue.Accepted { return b.Messages[i] }))
	if settled := plan.Settlements(b.Settled); len(settled) > 0 {
		p.Queue(settle,
			uuids(settled, func(v queue.Settlement) wire.ID { return v.Mesh }),
			bigints(settled, func(v queue.Settlement) int64 { return v.Seq }),
			smallints(settled, func(v queue.Settlement) int16 { return int16(v.State) }),
			times(settled, func(v queue.Settlement) time.Time { return v.At }))
	}
	if closed := plan.Closings(b.Closed); len(closed) > 0 {
		p.Queue(closeMailboxes,
			uuids(closed, func(c queue.Closing) wire.ID { return c.Mailbox.Mesh }),
			texts(closed, func(c queue.Closing) string { return c.Mailbox.Name }),
			times(closed, func(c queue.Closing) time.Time { return c.At }),
			bigints(closed, func(c queue.Closing) int64 { return c.Upto }))
	}
	keep, remove := plan.Presences(b.Presences)
	queuePresences(p, keep, remove)
	queueAudit(p, b.Audit)
	queueHellos(p, b.Hellos)
	return s.pool.SendBatch(ctx, p).Close()
}

// written returns the meshes whose ownership a commit must check.
func (s *Store) written(b *journal.Batch) []wire.ID {
	if l := s.lease.Load(); l == nil || !l.shared {
		return nil // all of them are ours
	}
	return b.Meshes()
}

// queueMessages adds the statements that store new messages.
func queueMessages(p *pgx.Batch, messages []*queue.Accepted) {
	if len(messages) == 0 {
		return
	}
	type message = *queue.Accepted
	p.Queue(insertMessages,
		uuids(messages, func(m message) wire.ID { return m.ID }),
		uuids(messages, func(m message) wire.ID { return m.MeshID }),
		uuids(messages, func(m message) wire.ID { return m.SenderMember }),
		keys(messages, func(m message) wire.Key { return m.SenderMemberKey }),
		keys(messages, func(m message) wire.Key { return m.SenderKey }),
		texts(messages, func(m message) string { return m.SenderName }),
		texts(messages, func(m message) string { return m.TargetSpec }),
		texts(messages, func(m message) string { return string(m.Priority) }),
		bigints(messages, func(m message) int64 { return m.CreatedAt.UnixMilli() }),
		texts(messages, func(m message) string { return m.ClientID }),
		texts(messages, func(m message) string { return m.Fingerprint }),
		texts(messages, func(m message) string { return m.Topic }),
		texts(messages, func(m message) string { return m.ReplyTo }),
		texts(messages, func(m message) string { return column.Strings(m.Mentions) }),
		bigints(messages, func(m message) int64 { return m.BodyVersion }),
		bigints(messages, func(m message) int64 { return m.KeyEpoch }),
		blobs(messages, column.Settled))

	type delivery struct {
		*queue.Accepted
		*queue.Recipient
	}
	var waiting []message
	var deliveries []delivery
	for _, m := range messages {
		pending := plan.Pending(m)
		if len(pending) > 0 {
			waiting = append(waiting, m)
		}
		for _, r := range pending {
			deliveries = append(deliveries, delivery{m, r})
		}
	}
	marks := plan.Marks(messages)
	p.Queue(raiseMarks,
		uuids(marks, func(k plan.Mark) wire.ID { return k.Mesh }),
		bigints(marks, func(k plan.Mark) int64 { return k.Seq }),
		uuids(marks, func(k plan.Mark) wire.ID { return k.Message }))
	if len(deliveries) == 0 {
		return
	}
	p.Queue(insertBodies,
		uuids(waiting, func(m message) wire.ID { return m.MeshID }),
		uuids(waiting, func(m message) wire.ID { return m.ID }),
		texts(waiting, func(m message) string { return m.Nonce }),
		texts(waiting, func(m message) string { return m.Ciphertext }),
		blobs(waiting, func(m message) []byte { return m.SenderAttestation.Compact() }))
	p.Queue(insertDeliveries,
		bigints(deliveries, func(d delivery) int64 { return d.Seq }),
		uuids(deliveries, func(d delivery) wire.ID { return d.MeshID }),
		uuids(deliveries, func(d delivery) wire.ID { return d.SenderMember }),
		uuids(deliveries, func(d delivery) wire.ID { return d.ID }),
		texts(deliveries, func(d delivery) string { return d.Mailbox.Name }),
		booleans(deliveries, func(d delivery) bool { return d.Priority == wire.Now }),
		keys(deliveries, func(d delivery) wire.Key { return d.Key }),
		texts(deliveries, func(d delivery) string { return d.Name }),
		booleans(deliveries, func(d delivery) bool { return d.SameMember }))
}

// originals returns which of the messages with the given indexes are stored, and under
// which ids.
func (s *Store) originals(ctx context.Context, messages []*queue.Accepted, indexes []int) (map[int]wire.ID, error) {
	found := map[int]wire.ID{}
	_, err := collect(ctx, s, func(r column.Row) (struct{}, error) {
		var n int
		var original wire.ID
		err := r.Scan(&n, column.IntoID(&original))
		if err == nil {
			found[indexes[n-1]] = original
		}
		return struct{}{}, err
	}, originals,
		uuids(indexes, func(i int) wire.ID { return messages[i].ID }),
		uuids(indexes, func(i int) wire.ID { return messages[i].MeshID }),
		uuids(indexes, func(i int) wire.ID { return messages[i].SenderMember }),
		texts(indexes, func(i int) string { return messages[i].ClientID }))
	return found, err
}
