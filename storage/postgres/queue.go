package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/plan"
	"github.com/claudemesh/claudemesh/wire"
)

// These are the queries of the message path. A lookup for each of many rows is in a
// LATERAL subquery with a LIMIT, which Postgres can only run row by row, by index. IS TRUE
// keeps Postgres from choosing an index for a condition.
const (
	backlogRows = `SELECT d.seq, d.same_member, ` + column.MessageColumns + `, ` + column.BodyColumns + `
		FROM waiting d
		CROSS JOIN LATERAL (SELECT * FROM claudemesh.messages m
			WHERE m.mesh_id = $1 AND m.sender_member = d.sender_member AND m.id = d.message_id LIMIT 1) m
		LEFT JOIN LATERAL (SELECT * FROM claudemesh.bodies b WHERE b.mesh_id = $1 AND b.message_id = d.message_id LIMIT 1) b ON true
		ORDER BY d.seq`
	backlog = `WITH waiting AS (
			SELECT seq, same_member, sender_member, message_id FROM claudemesh.deliveries
			WHERE mesh_id = $1 AND mailbox = $2 AND state = 0 AND seq > $3 ORDER BY seq LIMIT $4) ` + backlogRows
	urgentBacklog = `WITH waiting AS (
			SELECT seq, same_member, sender_member, message_id FROM claudemesh.deliveries
			WHERE mesh_id = $1 AND mailbox = $2 AND state = 0 AND urgent AND seq > $3 ORDER BY seq LIMIT $4) ` + backlogRows
	// findMessages skips from sender to sender in the key and searches the messages of
	// each.
	findMessages = `WITH RECURSIVE sender (id) AS (
			(SELECT sender_member FROM claudemesh.messages WHERE mesh_id = $1 ORDER BY sender_member LIMIT 1)
			UNION ALL
			SELECT (SELECT m.sender_member FROM claudemesh.messages m
				WHERE m.mesh_id = $1 AND m.sender_member > sender.id ORDER BY m.sender_member LIMIT 1)
			FROM sender WHERE sender.id IS NOT NULL)
		SELECT ` + column.MessageColumns + `, ` + column.SettledColumn + ` FROM sender CROSS JOIN LATERAL (
			SELECT * FROM claudemesh.messages m WHERE m.mesh_id = $1 AND m.sender_member = sender.id AND m.id BETWEEN $2 AND $3
			ORDER BY m.id LIMIT $4) m
		ORDER BY m.id LIMIT $4`
	findRecipients = `SELECT message_id, ` + column.RecipientColumns + ` FROM claudemesh.deliveries
		WHERE mesh_id = $1 AND message_id = ANY ($2::uuid[]) ORDER BY seq`
	sentKeys = `SELECT client_id, id FROM claudemesh.messages
		WHERE mesh_id = $1 AND sender_member = $2 AND length(client_id) > 0 ORDER BY id DESC LIMIT $3`
	burden = `SELECT count(*), (SELECT count(*) FROM claudemesh.deliveries WHERE mesh_id = $1 AND state = 0),
			coalesce(sum(octet_length(nonce) + octet_length(ciphertext)), 0)::bigint,
			(SELECT message_id FROM claudemesh.bodies WHERE mesh_id = $1 ORDER BY message_id LIMIT 1)
		FROM claudemesh.bodies WHERE mesh_id = $1`
	mark = `SELECT last_seq, last_message FROM claudemesh.mesh_marks WHERE mesh_id = $1`
)

// Backlog implements queue.Store.
func (s *Store) Backlog(ctx context.Context, box queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	query := backlog
	if urgentOnly {
		query = urgentBacklog
	}
	list, err := collect(ctx, s, column.ScanWaiting, query, uuid(box.Mesh), column.Text(box.Name), after, max(limit, 0))
	return list, wrap("read backlog", err)
}

// Find implements queue.Store. It finds nothing for a prefix that isn't hex.
func (s *Store) Find(ctx context.Context, meshID wire.ID, prefix string, limit int) ([]queue.Accepted, error) {
	least, greatest, ok := plan.IDRange(prefix)
	if !ok {
		return nil, nil
	}
	found, err := collect(ctx, s, func(r column.Row) (a queue.Accepted, err error) {
		err = column.ScanAccepted(r, &a)
		return a, err
	}, findMessages, uuid(meshID), uuid(least), uuid(greatest), max(limit, 0))
	if err != nil || len(found) == 0 {
		return nil, wrap("find message", err)
	}
	place := make(map[wire.ID]*queue.Accepted, len(found))
	for i := range found {
		place[found[i].ID] = &found[i]
	}
	_, err = collect(ctx, s, func(r column.Row) (struct{}, error) {
		var message wire.ID
		recipient, err := column.ScanRecipient(r, column.IntoID(&message))
		if a := place[message]; err == nil && a != nil {
			a.Recipients = append(a.Recipients, recipient)
		}
		return struct{}{}, err
	}, findRecipients, uuid(meshID), uuids(found, func(a queue.Accepted) wire.ID { return a.ID }))
	if err != nil {
		return nil, wrap("find recipients", err)
	}
	plan.SortRecipients(found)
	return found, nil
}

// Sent implements queue.Store.
func (s *Store) Sent(ctx context.Context, meshID, member wire.ID, limit int) ([]queue.Sent, error) {
	list, err := collect(ctx, s, func(r column.Row) (k queue.Sent, err error) {
		err = r.Scan(&k.ClientID, column.IntoID(&k.MessageID))
		return k, err
	}, sentKeys, uuid(meshID), uuid(member), max(limit, 0))
	return list, wrap("read idempotency keys", err)
}

// Burden implements queue.Store.
func (s *Store) Burden(ctx context.Context, meshID wire.ID) (b queue.Burden, err error) {
	var oldest wire.ID
	err = s.row(ctx, func(r pgx.Row) error {
		return r.Scan(&b.Messages, &b.Deliveries, &b.Bytes, column.IntoID(&oldest))
	}, burden, uuid(meshID))
	if err == nil && !oldest.IsZero() {
		b.Oldest = oldest.Time()
	}
	return b, wrap("add up what waits", err)
}

// Mark implements queue.Store.
func (s *Store) Mark(ctx context.Context, meshID wire.ID) (m queue.Mark, err error) {
	err = s.row(ctx, func(r pgx.Row) error { return r.Scan(&m.Seq, column.IntoID(&m.Message)) }, mark, uuid(meshID))
	if errors.Is(err, pgx.ErrNoRows) {
		return queue.Mark{}, nil
	}
	return m, wrap("read how far a mesh has come", err)
}
