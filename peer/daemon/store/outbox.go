package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// Message is a message in the outbox.
type Message struct {
	Seq               int64
	ID                string // client_message_id
	SessionID, MeshID string
	Target            string // as on the wire
	ToMember          string // the member whose key Target is, hex; "" if none
	ToName            string
	Body              string // "" once the broker has the message
	Priority          wire.Priority
	ReplyTo           string
	MessageID         string // assigned by the broker
	State             local.State
	Reason            string
	Created           time.Time
}

const messageColumns = `seq, id, session_id, mesh_id, target, to_member, to_name, COALESCE(body, ''), priority, reply_to, message_id, state, reason, created`

func scanMessage(scan func(...any) error, l *Message) error {
	var created int64
	err := scan(&l.Seq, &l.ID, &l.SessionID, &l.MeshID, &l.Target, &l.ToMember, &l.ToName, &l.Body, &l.Priority, &l.ReplyTo, &l.MessageID, &l.State, &l.Reason, &created)
	l.Created = time.UnixMilli(created).UTC()
	return err
}

var (
	// ErrFull means that MaxWaiting messages of the session already wait.
	ErrFull = errors.New("outbox is full")
	// ErrIDTaken means that another session has sent a message with that id.
	ErrIDTaken = errors.New("id is in use")
	// ErrNoMessage means that there is no such message.
	ErrNoMessage = errors.New("no such message")
	// ErrSeveralMessages means that part of an id matches several ids.
	ErrSeveralMessages = errors.New("several such messages")
)

// MaxWaiting is how many messages of a session may wait for the broker.
const MaxWaiting = 1000

// AddMessage adds a message to the outbox. If the session already has a message with that id,
// that message stays unchanged, and added is false.
func (s *Store) AddMessage(ctx context.Context, l *Message) (added bool, err error) {
	err = s.change(ctx, func(tx *sql.Tx) error {
		var owner string
		err := tx.QueryRowContext(ctx, `SELECT session_id FROM outbox WHERE id = ?`, l.ID).Scan(&owner)
		switch {
		case err == nil && owner != l.SessionID:
			return ErrIDTaken
		case err == nil:
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		var waiting int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM outbox WHERE session_id = ? AND state = 'waiting'`, l.SessionID).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= MaxWaiting {
			return ErrFull
		}
		added = true
		_, err = tx.ExecContext(ctx, `
			INSERT INTO outbox (id, session_id, mesh_id, target, to_member, to_name, body, priority, reply_to, message_id, state, reason, created)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', 'waiting', '', ?)`,
			l.ID, l.SessionID, l.MeshID, l.Target, l.ToMember, l.ToName, l.Body, string(l.Priority), l.ReplyTo, l.Created.UnixMilli())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	return added, nil
}

// NextMessage returns the oldest message in a mesh that waits to be sent by a session or, if
// session is "", by any session that has ended. It returns ErrNoMessage if there is
// none.
func (s *Store) NextMessage(ctx context.Context, mesh, session string) (Message, error) {
	return s.message(ctx, `WHERE mesh_id = ? AND state = 'waiting' AND CASE ? WHEN '' THEN session_id NOT IN (SELECT id FROM session) ELSE session_id = ? END ORDER BY seq LIMIT 1`,
		mesh, session, session)
}

// MessageByID returns a message of any session.
func (s *Store) MessageByID(ctx context.Context, id string) (Message, error) {
	return s.message(ctx, `WHERE id = ?`, id)
}

func (s *Store) message(ctx context.Context, where string, args ...any) (Message, error) {
	var l Message
	err := scanMessage(s.db.QueryRowContext(ctx, `SELECT `+messageColumns+` FROM outbox `+where, args...).Scan, &l)
	if errors.Is(err, sql.ErrNoRows) {
		return l, ErrNoMessage
	}
	if err != nil {
		return l, fmt.Errorf("read outbox: %w", err)
	}
	return l, nil
}

// FindMessage returns a message of a session by its own id or the broker's, or by at least 8
// characters of the start or end of either.
func (s *Store) FindMessage(ctx context.Context, session, given string) (Message, error) {
	starts, ends := disk.StartsAndEnds(given)
	list, err := collect(ctx, s.db, "read outbox", func(r *sql.Rows, l *Message) error { return scanMessage(r.Scan, l) },
		`SELECT `+messageColumns+` FROM outbox WHERE session_id = ?1 AND (id LIKE ?2 ESCAPE '\' OR message_id LIKE ?2 ESCAPE '\' OR id LIKE ?3 ESCAPE '\' OR message_id LIKE ?3 ESCAPE '\')
		ORDER BY id = ?4 DESC, message_id = ?4 DESC, seq LIMIT 2`, session, starts, ends, given)
	switch {
	case err != nil:
		return Message{}, err
	case len(list) == 0:
		return Message{}, ErrNoMessage
	case len(list) > 1 && list[0].ID != given && list[0].MessageID != given:
		return Message{}, ErrSeveralMessages
	}
	return list[0], nil
}

// Queued records that the broker has a message, and which recipients it can't reach.
func (s *Store) Queued(ctx context.Context, id, messageID, unreached string) error {
	return s.exec(ctx, "note acknowledged message",
		`UPDATE outbox SET state = 'queued', message_id = ?, reason = ?, body = NULL WHERE id = ? AND state = 'waiting'`, messageID, unreached, id)
}

// Failed records that the broker has refused a message.
func (s *Store) Failed(ctx context.Context, id, reason string) error {
	return s.exec(ctx, "note failed message", `UPDATE outbox SET state = 'failed', reason = ?, body = NULL WHERE id = ? AND state = 'waiting'`, reason, id)
}

// Settled records the state of a message over all its recipients.
func (s *Store) Settled(ctx context.Context, id string, state local.State) error {
	return s.exec(ctx, "note state of message", `UPDATE outbox SET state = ? WHERE id = ? AND state NOT IN ('waiting', 'failed')`, string(state), id)
}

// Waiting counts the messages that no broker has acknowledged: all of them, or those of a
// session in a mesh if mesh is not "".
func (s *Store) Waiting(ctx context.Context, mesh, session string) (n int, err error) {
	query, args := `SELECT count(*) FROM outbox WHERE state = 'waiting'`, []any{}
	if mesh != "" {
		query, args = query+` AND mesh_id = ? AND session_id = ?`, []any{mesh, session}
	}
	if err := s.db.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count outbox: %w", err)
	}
	return n, nil
}

// MoveMessages moves the messages of a session to its successor.
func (s *Store) MoveMessages(ctx context.Context, from, to string) error {
	return s.exec(ctx, "hand over outbox", `UPDATE outbox SET session_id = ? WHERE session_id = ?`, to, from)
}

// OutboxLife is how long the store keeps a sent message. The broker keeps it for 7 days.
const OutboxLife = 8 * 24 * time.Hour

// knownLife is how long the store keeps what it knows about a session that does not come back.
const knownLife = 365 * 24 * time.Hour

// Prune deletes old rows. It keeps the messages that wait in a joined mesh; joined has the ids of
// these meshes. It keeps waiting messages of other meshes for longer than sent ones, and also
// successions, since they name keys for which mail may still be sealed.
func (s *Store) Prune(ctx context.Context, joined []string, now time.Time) error {
	old, ancient := now.Add(-OutboxLife).UnixMilli(), now.Add(-4*OutboxLife).UnixMilli()
	meshes, err := json.Marshal(joined)
	if err != nil {
		return fmt.Errorf("prune outbox: %w", err)
	}
	return errors.Join(
		s.exec(ctx, "prune outbox", `DELETE FROM outbox WHERE state <> 'waiting' AND created < ? OR created < ? AND mesh_id NOT IN (SELECT value FROM json_each(?))`,
			old, ancient, string(meshes)),
		s.exec(ctx, "prune confirmations", `DELETE FROM confirmation WHERE at < ?`, old),
		s.exec(ctx, "prune known sessions", `DELETE FROM known WHERE at < ?`, now.Add(-knownLife).UnixMilli()),
		s.exec(ctx, "prune successions", `DELETE FROM succession WHERE at < ? AND session_id NOT IN (SELECT id FROM session)`, ancient),
	)
}
