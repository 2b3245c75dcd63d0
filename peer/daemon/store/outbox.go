package store

import (
	"context"
	"database/sql"
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
	ToMember          string // whose key Target is, hex; "" when it is none
	ToName            string
	Body              string // "" when the broker has the message
	Priority          wire.Priority
	ReplyTo           string
	MessageID         string // the broker's
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
	// ErrFull is returned by AddMessage when MaxWaiting messages of the session wait.
	ErrFull = errors.New("outbox is full")
	// ErrIDTaken is returned by AddMessage when another session has sent one of that id.
	ErrIDTaken = errors.New("id is in use")
	// ErrNoMessage is returned when there is no such message.
	ErrNoMessage = errors.New("no such message")
	// ErrSeveralMessages is returned by FindMessage for a part of several ids.
	ErrSeveralMessages = errors.New("several such messages")
)

// MaxWaiting is how many messages of a session may wait for the broker.
const MaxWaiting = 1000

// AddMessage puts a message into the outbox. One of that session that is there
// already under the same id stays as it is, and added is false.
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

// NextMessage returns the oldest message that waits in a mesh: of one session, or,
// when session is "", of any that no longer lives. ErrNoMessage when there is none.
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

// FindMessage returns a message of a session by its id or the broker's, or by 8 characters
// or more of the start or end of either.
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

// Queued notes that the broker has a message, and whom it can't reach.
func (s *Store) Queued(ctx context.Context, id, messageID, unreached string) error {
	return s.exec(ctx, "note acknowledged message",
		`UPDATE outbox SET state = 'queued', message_id = ?, reason = ?, body = NULL WHERE id = ? AND state = 'waiting'`, messageID, unreached, id)
}

// Failed notes that the broker does not take a message.
func (s *Store) Failed(ctx context.Context, id, reason string) error {
	return s.exec(ctx, "note failed message", `UPDATE outbox SET state = 'failed', reason = ?, body = NULL WHERE id = ? AND state = 'waiting'`, reason, id)
}

// Settled notes how a message stands over all its recipients, when that is
// further than what is known.
func (s *Store) Settled(ctx context.Context, id string, state local.State) error {
	return s.exec(ctx, "note state of message", `UPDATE outbox SET state = ? WHERE id = ? AND state NOT IN ('waiting', 'failed')`, string(state), id)
}

// Waiting counts the messages that no broker has acknowledged: all, or with a
// mesh and session those of that session there.
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

// MoveMessages hands the messages of a session to the one that goes on for it.
func (s *Store) MoveMessages(ctx context.Context, from, to string) error {
	return s.exec(ctx, "hand over outbox", `UPDATE outbox SET session_id = ? WHERE session_id = ?`, to, from)
}

// outboxLife is how long a sent message is remembered: the broker forgets it
// after 7 days.
const outboxLife = 8 * 24 * time.Hour

// knownLife is how long a session is known that does not come back.
const knownLife = 365 * 24 * time.Hour

// Prune forgets what nobody will ask for any more. Messages that still wait, and
// successions, which name keys that mail may still be sealed for, live longer.
func (s *Store) Prune(ctx context.Context, now time.Time) error {
	old, ancient := now.Add(-outboxLife).UnixMilli(), now.Add(-4*outboxLife).UnixMilli()
	return errors.Join(
		s.exec(ctx, "prune outbox", `DELETE FROM outbox WHERE created < ? AND state <> 'waiting' OR created < ?`, old, ancient),
		s.exec(ctx, "prune confirmations", `DELETE FROM confirmation WHERE at < ?`, old),
		s.exec(ctx, "prune known sessions", `DELETE FROM known WHERE at < ?`, now.Add(-knownLife).UnixMilli()),
		s.exec(ctx, "prune successions", `DELETE FROM succession WHERE at < ? AND session_id NOT IN (SELECT id FROM session)`, ancient),
	)
}
