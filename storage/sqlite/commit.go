package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/plan"
	"github.com/claudemesh/claudemesh/wire"
)

// Commit implements journal.Store. It skips a message whose id is already stored, without
// reporting it, so that a caller can repeat a batch of unknown fate.
func (s *Store) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	sorted := plan.SortMessages(b.Messages)
	settled, closed := plan.Settlements(b.Settled), plan.Closings(b.Closed)
	keep, remove := plan.Presences(b.Presences)
	var stored map[int]wire.ID
	err := s.update(ctx, func(t tx) (err error) {
		if stored, err = t.insertMessages(b.Messages, sorted.New); err != nil {
			return err
		}
		if err := t.settle(settled, closed); err != nil {
			return err
		}
		if err := t.putPresences(keep, remove); err != nil {
			return err
		}
		if err := t.appendAudit(b.Audit); err != nil {
			return err
		}
		return t.putHellos(b.Hellos)
	})
	if err != nil {
		return nil, wrap("commit", err)
	}
	return sorted.Duplicates(b.Messages, stored), nil
}

var (
	// The most frequent values are bound as NULL, because the driver allocates and frees a
	// copy of every other text.
	insertMessages = newBulkOf(`INSERT INTO messages (no, id, mesh_id, sender_member, sender_member_key, sender_key, sender_name,
		target_spec, priority, created_at, client_id, body_version, key_epoch, settled, fingerprint, topic, reply_to, mentions)
		VALUES `, `(?,?,?,?,?,?,?,?,coalesce(?,'next'),?,?,?,?,?,coalesce(?,''),coalesce(?,''),coalesce(?,''),coalesce(?,'[]'))`, ` ON CONFLICT DO NOTHING`)
	insertBodies     = newBulk(`INSERT INTO bodies (message, nonce, ciphertext, sender_attestation) VALUES `, 4, ``)
	insertDeliveries = newBulk(`INSERT INTO deliveries (seq, message, mesh_id, mailbox, urgent, key, name, same_member,
		state) VALUES `, 9, ``)
	// +state keeps SQLite from reading all pending deliveries by the index on state.
	settleDeliveries = newBulk(`UPDATE deliveries SET state = s.column3, settled_at = s.column4 FROM (VALUES `, 4,
		`) s WHERE mesh_id = s.column1 AND seq = s.column2 AND +state = 0 RETURNING message`)
	raiseMarks = newBulk(`INSERT INTO mesh_marks (mesh_id, last_seq, last_message) VALUES `, 3, ` ON CONFLICT (mesh_id) DO UPDATE SET
		last_seq = max(last_seq, excluded.last_seq), last_message = max(coalesce(last_message, x''), excluded.last_message)`)
	dropBodies = newBulk(`DELETE FROM bodies WHERE message IN (`, 0,
		`) AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = bodies.message AND d.state = 0)`)
)

const (
	nextMessage      = `SELECT coalesce(max(no), 0) + 1 FROM messages`
	insertedMessages = `SELECT no FROM messages WHERE no >= ? AND no < ?`
	messageByClient  = `SELECT id FROM messages WHERE mesh_id = ? AND sender_member = ? AND client_id = ? AND client_id <> ''`
	closeMailbox     = `UPDATE deliveries SET state = 3, settled_at = ? WHERE mesh_id = ? AND mailbox = ? AND state = 0 AND seq <= ? RETURNING message`
)

// numbered is a new message of a batch, with its number in the database.
type numbered struct {
	*queue.Accepted
	no int64
}

// insertMessages stores the messages with the given indexes. For those that were stored
// before, it returns their ids, by index.
func (t tx) insertMessages(messages []*queue.Accepted, indexes []int) (map[int]wire.ID, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	var first int64
	if err := t.row(nextMessage).Scan(&first); err != nil {
		return nil, err
	}
	stored := map[int]wire.ID{}
	fresh := make([]numbered, 0, len(indexes))
	row := func(args []any, i int) []any {
		m := &messages[indexes[i]].Message
		return append(args, first+int64(i), m.ID[:], m.MeshID[:], m.SenderMember[:], blob(column.Key(m.SenderMemberKey)),
			blob(column.Key(m.SenderKey)), column.Text(m.SenderName), column.Text(m.TargetSpec), rare(string(m.Priority), string(wire.Next)),
			m.CreatedAt.UnixMilli(), column.Text(m.ClientID), m.BodyVersion, m.KeyEpoch, blob(column.Settled(messages[indexes[i]])),
			rare(column.Text(m.Fingerprint), ""), rare(column.Text(m.Topic), ""), rare(column.Text(m.ReplyTo), ""),
			rare(column.Strings(m.Mentions), "[]"))
	}
	err := insertMessages.each(len(indexes), row, func(query string, args []any, from, to int) error {
		n, err := t.exec(query, args...)
		if err != nil {
			return err
		}
		var inserted map[int64]bool // nil means all of them
		if n < int64(to-from) {
			if inserted, err = t.numbers(first+int64(from), first+int64(to)); err != nil {
				return err
			}
		}
		for i := from; i < to; i++ {
			m, no := messages[indexes[i]], first+int64(i)
			if inserted == nil || inserted[no] {
				fresh = append(fresh, numbered{m, no})
			} else if stored[indexes[i]], err = t.original(&m.Message); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stored, t.insertParts(fresh)
}

// rare returns nil for the usual value of a text.
func rare(s, usually string) any {
	if s == usually {
		return nil
	}
	return s
}

// numbers returns the numbers of the messages in a range.
func (t tx) numbers(from, to int64) (map[int64]bool, error) {
	rows, err := t.query(insertedMessages, from, to)
	list, err := collect(rows, err, scanNumber)
	set := make(map[int64]bool, len(list))
	for _, no := range list {
		set[no] = true
	}
	return set, err
}

// original returns the id under which a conflicting message is stored.
func (t tx) original(m *queue.Message) (wire.ID, error) {
	var id wire.ID
	err := t.row(messageByClient, m.MeshID[:], m.SenderMember[:], column.Text(m.ClientID)).Scan(column.IntoID(&id))
	if errors.Is(err, sql.ErrNoRows) {
		return m.ID, nil // its id is already stored
	}
	return id, err
}

// insertParts stores the bodies of new messages and their pending deliveries.
func (t tx) insertParts(fresh []numbered) error {
	type delivery struct {
		numbered
		*queue.Recipient
	}
	var waiting []numbered
	var deliveries []delivery
	stored := make([]*queue.Accepted, 0, len(fresh))
	for _, m := range fresh {
		stored = append(stored, m.Accepted)
		pending := plan.Pending(m.Accepted)
		if len(pending) > 0 {
			waiting = append(waiting, m)
		}
		for _, r := range pending {
			deliveries = append(deliveries, delivery{m, r})
		}
	}
	marks := plan.Marks(stored)
	err := t.bulk(raiseMarks, len(marks), func(args []any, i int) []any {
		return append(args, marks[i].Mesh[:], marks[i].Seq, marks[i].Message[:])
	})
	if err != nil {
		return err
	}
	err = t.bulk(insertBodies, len(waiting), func(args []any, i int) []any {
		m := waiting[i]
		return append(args, m.no, column.Text(m.Nonce), column.Text(m.Ciphertext), blob(m.SenderAttestation.Compact()))
	})
	if err != nil {
		return err
	}
	return t.bulk(insertDeliveries, len(deliveries), func(args []any, i int) []any {
		d := deliveries[i]
		return append(args, d.Seq, d.no, d.MeshID[:], column.Text(d.Mailbox.Name), d.Priority == wire.Now,
			blob(column.Key(d.Key)), column.Text(d.Name), d.SameMember, int64(queue.Pending))
	})
}

// settle settles deliveries, closes mailboxes, and deletes the bodies that nobody waits
// for any more.
func (t tx) settle(settled []queue.Settlement, closed []queue.Closing) error {
	touched := make(map[int64]bool)
	update := func(query string, args ...any) error {
		rows, err := t.query(query, args...)
		numbers, err := collect(rows, err, scanNumber)
		for _, no := range numbers {
			touched[no] = true
		}
		return err
	}
	err := settleDeliveries.each(len(settled), func(args []any, i int) []any {
		return append(args, settled[i].Mesh[:], settled[i].Seq, int64(settled[i].State), column.Millis(settled[i].At))
	}, func(query string, args []any, _, _ int) error { return update(query, args...) })
	if err != nil {
		return err
	}
	for _, c := range closed {
		if err := update(closeMailbox, column.Millis(c.At), c.Mailbox.Mesh[:], c.Mailbox.Name, c.Upto); err != nil {
			return err
		}
	}
	return t.dropBodies(touched)
}

// dropBodies deletes the bodies of those of the messages that nobody waits for.
func (t tx) dropBodies(touched map[int64]bool) error {
	numbers := make([]int64, 0, len(touched))
	for no := range touched {
		numbers = append(numbers, no)
	}
	return t.bulk(dropBodies, len(numbers), func(args []any, i int) []any { return append(args, numbers[i]) })
}
