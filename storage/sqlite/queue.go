package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/plan"
	"github.com/claudemesh/claudemesh/wire"
)

// These are the queries of the message path. CROSS JOIN makes SQLite read the tables in
// the given order.
const (
	backlog = `SELECT d.seq, d.same_member, ` + column.MessageColumns + `, ` + column.BodyColumns + `
		FROM deliveries d CROSS JOIN messages m ON m.no = d.message LEFT JOIN bodies b ON b.message = d.message
		WHERE d.mesh_id = ? AND d.mailbox = ? AND d.state = 0 AND d.seq > ? ORDER BY d.seq LIMIT ?`
	urgentBacklog = `SELECT d.seq, d.same_member, ` + column.MessageColumns + `, ` + column.BodyColumns + `
		FROM deliveries d CROSS JOIN messages m ON m.no = d.message LEFT JOIN bodies b ON b.message = d.message
		WHERE d.mesh_id = ? AND d.mailbox = ? AND d.state = 0 AND d.urgent = 1 AND d.seq > ? ORDER BY d.seq LIMIT ?`
	// findMessages skips from sender to sender in the key and searches the messages of
	// each.
	findMessages = `WITH RECURSIVE sender (id) AS (
			SELECT min(sender_member) FROM messages WHERE mesh_id = ?1
			UNION ALL
			SELECT (SELECT min(m.sender_member) FROM messages m WHERE m.mesh_id = ?1 AND m.sender_member > sender.id)
			FROM sender WHERE sender.id IS NOT NULL)
		SELECT m.no, ` + column.MessageColumns + `, ` + column.SettledColumn + ` FROM sender
		CROSS JOIN messages m ON m.mesh_id = ?1 AND m.sender_member = sender.id AND m.id BETWEEN ?2 AND ?3
		ORDER BY m.id LIMIT ?4`
	findRecipients = `SELECT ` + column.RecipientColumns + ` FROM deliveries WHERE message = ? ORDER BY seq`
	sentKeys       = `SELECT client_id, id FROM messages
		WHERE mesh_id = ? AND sender_member = ? AND client_id <> '' ORDER BY id DESC LIMIT ?`
	burden = `SELECT messages, (SELECT count(*) FROM deliveries WHERE mesh_id = ? AND state = 0), bytes,
			(SELECT created_at FROM messages WHERE no = oldest)
		FROM (SELECT count(*) AS messages, coalesce(sum(octet_length(nonce) + octet_length(ciphertext)), 0) AS bytes, min(message) AS oldest
			FROM bodies WHERE message IN (SELECT message FROM deliveries WHERE mesh_id = ? AND state = 0))`
	mark = `SELECT last_seq, last_message FROM mesh_marks WHERE mesh_id = ?`
)

// Backlog implements queue.Store.
func (s *Store) Backlog(ctx context.Context, box queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	query := backlog
	if urgentOnly {
		query = urgentBacklog
	}
	rows, err := s.read.query(ctx, query, box.Mesh[:], column.Text(box.Name), after, max(limit, 0))
	list, err := collect(rows, err, column.ScanWaiting)
	return list, wrap("read backlog", err)
}

// Find implements queue.Store. It finds nothing for a prefix that isn't hex.
func (s *Store) Find(ctx context.Context, meshID wire.ID, prefix string, limit int) ([]queue.Accepted, error) {
	least, greatest, ok := plan.IDRange(prefix)
	if !ok {
		return nil, nil
	}
	var numbers []int64
	rows, err := s.read.query(ctx, findMessages, meshID[:], least[:], greatest[:], max(limit, 0))
	found, err := collect(rows, err, func(r column.Row) (a queue.Accepted, err error) {
		var no int64
		err = column.ScanAccepted(r, &a, &no)
		numbers = append(numbers, no)
		return a, err
	})
	if err != nil {
		return nil, wrap("find message", err)
	}
	for i, no := range numbers {
		rows, err := s.read.query(ctx, findRecipients, no)
		list, err := collect(rows, err, func(r column.Row) (queue.Recipient, error) {
			return column.ScanRecipient(r)
		})
		if err != nil {
			return nil, wrap("find recipients", err)
		}
		found[i].Recipients = append(found[i].Recipients, list...)
	}
	plan.SortRecipients(found)
	return found, nil
}

// Sent implements queue.Store.
func (s *Store) Sent(ctx context.Context, meshID, member wire.ID, limit int) ([]queue.Sent, error) {
	rows, err := s.read.query(ctx, sentKeys, meshID[:], member[:], max(limit, 0))
	list, err := collect(rows, err, func(r column.Row) (k queue.Sent, err error) {
		err = r.Scan(&k.ClientID, column.IntoID(&k.MessageID))
		return k, err
	})
	return list, wrap("read idempotency keys", err)
}

// Burden implements queue.Store.
func (s *Store) Burden(ctx context.Context, meshID wire.ID) (b queue.Burden, err error) {
	err = s.read.row(ctx, burden, meshID[:], meshID[:]).Scan(&b.Messages, &b.Deliveries, &b.Bytes, column.IntoTime(&b.Oldest))
	return b, wrap("add up what waits", err)
}

// Mark implements queue.Store.
func (s *Store) Mark(ctx context.Context, meshID wire.ID) (m queue.Mark, err error) {
	err = s.read.row(ctx, mark, meshID[:]).Scan(&m.Seq, column.IntoID(&m.Message))
	if errors.Is(err, sql.ErrNoRows) {
		return queue.Mark{}, nil
	}
	return m, wrap("read how far a mesh has come", err)
}
