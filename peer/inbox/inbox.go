package inbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/wire"
)

// FileName is the name of the inbox's file in the config directory.
const FileName = "inbox.db"

// keepRead is how long a message stays after it was read.
const keepRead = 30 * 24 * time.Hour

// Inbox keeps received messages on disk, for all meshes of one Dir, and the names of the
// members that the user has met. Several processes may use it at once; every method is one
// transaction.
type Inbox struct{ db *sql.DB }

// Mailbox identifies the recipient of a message.
type Mailbox struct {
	MeshID  string
	Session string // the id of the Claude Code session; "": the member
}

// Stored is a message in the inbox. For the fields see peer.Incoming. Unknown keys are
// empty.
type Stored struct {
	ID           int64        `json:"-"` // rises in the order of arrival
	MeshID       string       `json:"-"`
	Session      string       `json:"-"` // as in Mailbox
	MessageID    string       `json:"messageId"`
	ClientID     string       `json:"clientMessageId,omitempty"`
	From         string       `json:"from"` // display name, else the start of the key
	Sender       string       `json:"senderPubkey"`
	Member       string       `json:"senderMemberPubkey,omitempty"`
	Verified     bool         `json:"verified"`
	Compared     bool         `json:"compared"` // Verified, and the user has compared the member's key
	Doubt        string       `json:"doubt,omitempty"`
	Sealing      peer.Sealing `json:"sealing"`
	Body         string       `json:"body"`
	Error        string       `json:"error,omitempty"`
	Priority     string       `json:"priority"`
	Topic        string       `json:"topic,omitempty"`
	To           []string     `json:"to,omitempty"` // as Incoming.Targets
	ReplyTo      string       `json:"replyTo,omitempty"`
	CreatedAt    time.Time    `json:"createdAt"`
	ReceivedAt   time.Time    `json:"receivedAt"`
	Read         bool         `json:"read"` // a person has read it, or a session has taken it
	WantsReceipt bool         `json:"-"`
	ContextAt    time.Time    `json:"-"` // zero: not in a session's context
	// MaybeSeen means that a session took the message before, and nobody knows whether it
	// saw the message.
	MaybeSeen bool `json:"-"`
}

// SenderKey returns the key to reply to.
func (s *Stored) SenderKey() wire.Key { return keyOf(s.Sender) }

// Proven returns the member that is proven to have sent the message, whatever its name. It
// is zero if there is none.
func (s *Stored) Proven() wire.Key {
	if s.Verified || s.Doubt == doubtOtherKey || s.Doubt == doubtAlike || s.Doubt == peer.DoubtNoName {
		return s.MemberKey()
	}
	return wire.Key{}
}

// MemberKey returns the sender's member key, or zero if it is unknown.
func (s *Stored) MemberKey() wire.Key { return keyOf(s.Member) }

func keyOf(text string) wire.Key {
	key, err := wire.ParseKey(text)
	if err != nil {
		return wire.Key{} // "" stands for no key
	}
	return key
}

// Open opens the inbox of a directory, which must exist, and creates the inbox on first
// use. A message that Add has stored survives a loss of power.
func Open(ctx context.Context, d peer.Dir) (*Inbox, error) {
	db, err := disk.Open(ctx, d.Path(FileName), schema)
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	return &Inbox{db}, nil
}

// Close closes the inbox.
func (b *Inbox) Close() error { return b.db.Close() }

// Add stores a message and reports whether it is new. Add changes nothing if the mailbox
// already has the message. A message that was sealed for one key counts as known if any
// mailbox of the mesh has it, because a session's mail may come to its successor. A message
// to everybody comes to the member and to each session, except to a session that took it
// as its member's mail. If the sender's name belongs to another member, Add
// stores the message as not verified.
func (b *Inbox) Add(ctx context.Context, box Mailbox, m *peer.Incoming, now time.Time) (added bool, err error) {
	member, reason := "", ""
	if !m.Member.IsZero() {
		member = m.Member.String()
	}
	if m.Err != nil {
		reason = m.Err.Error()
	}
	body := m.Body
	if body == nil {
		body = []byte{}
	}
	targets, err := json.Marshal(m.Targets)
	if err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	err = b.inTx(ctx, "store message", func(tx *sql.Tx) error {
		verified, doubt := m.Verified, m.Doubt
		if verified {
			contact, err := meet(ctx, tx, box.MeshID, m.Sender, m.Member, m.Name, now)
			if err != nil {
				return err
			}
			doubt = contact.Doubt()
			verified = doubt == ""
		}
		res, err := tx.ExecContext(ctx, `
			INSERT INTO message (mesh_id, session, dedupe_key, message_id, client_id, sender, member, name, sealing, body, error,
				priority, topic, reply_to, verified, doubt, wants_receipt, created_at, received_at, targets)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20
			WHERE NOT EXISTS (SELECT 1 FROM message WHERE mesh_id = ?1 AND dedupe_key = ?3
				AND (session = '' AND taken_session = ?2 OR sealing = 'direct' AND ?9 = 'direct'))
			ON CONFLICT (mesh_id, dedupe_key, session) DO NOTHING`,
			box.MeshID, box.Session, m.DedupeKey(), m.MessageID, m.ClientID, m.Sender.String(), member, m.Name, string(m.Sealing), body, reason,
			string(m.Priority), m.Topic, m.ReplyTo, verified, doubt, m.WantsReceipt, m.CreatedAt.UnixMilli(), now.UnixMilli(), string(targets))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		added = n == 1
		return err
	})
	return added && err == nil, err
}

// Has reports whether the inbox already has a message, so that Add would change nothing.
func (b *Inbox) Has(ctx context.Context, box Mailbox, m *peer.Incoming) (has bool, err error) {
	err = b.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM message WHERE mesh_id = ?1 AND dedupe_key = ?2 AND (session = ?3
		OR session = '' AND taken_session = ?3 OR sealing = 'direct' AND ?4 = 'direct'))`,
		box.MeshID, m.DedupeKey(), box.Session, string(m.Sealing)).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("look for message: %w", err)
	}
	return has, nil
}

// ListOptions select messages of an inbox.
type ListOptions struct {
	All    bool      // include read messages
	After  int64     // only those with a higher ID
	Before int64     // only those with a lower ID; 0: all
	Since  time.Time // only those that reached the broker since then
	From   string    // only those of this sender: a name, in any case, or 8 digits or more of a key's start
	Group  string    // only those for this target, as Incoming.Targets has it
	Limit  int       // only that many, the newest; 0: all
}

// List returns the member's messages in order of arrival.
func (b *Inbox) List(ctx context.Context, meshID string, o ListOptions) ([]Stored, error) {
	limit := o.Limit
	if limit <= 0 {
		limit = -1 // SQLite: no limit
	}
	var since int64
	if !o.Since.IsZero() {
		since = o.Since.UnixMilli()
	}
	senders, err := b.senders(ctx, meshID, o.From)
	if err != nil {
		return nil, fmt.Errorf("list inbox: %w", err)
	}
	list, err := storedRows(ctx, b.db, `
		SELECT * FROM (
			SELECT `+storedColumns+` FROM message m
			WHERE m.mesh_id = ?1 AND m.session = '' AND m.id > ?2 AND (?3 = 0 OR m.id < ?3) AND (?4 OR `+unread+`)
				AND (?5 = 0 OR m.created_at >= ?5) AND (?6 = '' OR m.sender || ' ' || m.name IN (SELECT value FROM json_each(?7)))
				AND (?8 = '' OR EXISTS (SELECT 1 FROM json_each(m.targets) t WHERE t.value = ?8))
			ORDER BY m.id DESC LIMIT ?9
		) ORDER BY id`, meshID, o.After, o.Before, o.All, since, o.From, senders, o.Group, limit)
	if err != nil {
		return nil, fmt.Errorf("list inbox: %w", err)
	}
	return list, nil
}

// Count returns how many of the member's messages are unread, and how many reached the
// broker since a given time.
func (b *Inbox) Count(ctx context.Context, meshID string, since time.Time) (unreadOnes, came int, err error) {
	err = b.db.QueryRowContext(ctx, `SELECT coalesce(sum(`+unread+`), 0), coalesce(sum(m.created_at >= ?2), 0) FROM message m
		WHERE m.mesh_id = ?1 AND m.session = '' AND (`+unread+` OR m.created_at >= ?2)`, meshID, since.UnixMilli()).Scan(&unreadOnes, &came)
	if err != nil {
		return 0, 0, fmt.Errorf("count messages: %w", err)
	}
	return unreadOnes, came, nil
}

// senders returns the senders of messages that a text may mean, as a JSON array of keys
// with the names that they had.
func (b *Inbox) senders(ctx context.Context, meshID, from string) (_ string, err error) {
	if from == "" {
		return "[]", nil
	}
	rows, err := b.db.QueryContext(ctx, `SELECT DISTINCT m.sender, m.member, m.name, coalesce(c.name, '')
		FROM message m LEFT JOIN contact c ON c.mesh_id = m.mesh_id AND c.member = m.member WHERE m.mesh_id = ? AND m.session = ''`, meshID)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found := []string{}
	for rows.Next() {
		var sender, member, name, known string
		if err := rows.Scan(&sender, &member, &name, &known); err != nil {
			return "", err
		}
		start := strings.ToLower(from)
		byKey := peer.IsKeyStart(from) && (strings.HasPrefix(sender, start) || strings.HasPrefix(member, start))
		if byKey || strings.EqualFold(name, from) || strings.EqualFold(known, from) {
			found = append(found, sender+" "+name)
		}
	}
	list, err := json.Marshal(found)
	return string(list), errors.Join(err, rows.Err())
}

// Mail returns a message from the member's own mail, read or not. id is its MessageID, or
// 8 characters or more of its start or end. Mail fails with ErrNoMessage or
// ErrSeveralMessages.
func (b *Inbox) Mail(ctx context.Context, meshID, id string) (Stored, error) {
	if err := peer.CheckMessageID(id); err != nil {
		return Stored{}, fmt.Errorf("%w: %w", ErrNoMessage, err)
	}
	starts, ends := disk.StartsAndEnds(id)
	list, err := storedRows(ctx, b.db, `SELECT `+storedColumns+` FROM message m WHERE m.mesh_id = ?1 AND m.session = ''
		AND (m.message_id LIKE ?2 ESCAPE '\' OR m.message_id LIKE ?3 ESCAPE '\') ORDER BY m.message_id = ?4 DESC LIMIT 2`, meshID, starts, ends, id)
	switch {
	case err != nil:
		return Stored{}, fmt.Errorf("find message: %w", err)
	case len(list) == 0:
		return Stored{}, fmt.Errorf("%w: %q", ErrNoMessage, id)
	case len(list) > 1 && list[0].MessageID != id:
		return Stored{}, fmt.Errorf("%w: %q; give more of it", ErrSeveralMessages, id)
	}
	return list[0], nil
}

// storedColumns are the columns of a Stored in a query of message m.
const storedColumns = `m.id, m.mesh_id, m.session, m.message_id, m.client_id, m.sender, m.member, m.name, m.verified, m.doubt, m.sealing, m.body, m.error,
	m.priority, m.topic, m.reply_to, m.created_at, m.received_at, m.read_at IS NOT NULL OR m.taken_at IS NOT NULL, m.wants_receipt, m.context_at, m.maybe_seen, m.targets,
	m.verified AND EXISTS (SELECT 1 FROM contact c WHERE c.mesh_id = m.mesh_id AND c.member = m.member AND c.confirmed_at IS NOT NULL)`

// storedRows returns the rows of a query of storedColumns.
func storedRows(ctx context.Context, q querier, query string, args ...any) ([]Stored, error) {
	return disk.Collect(ctx, q, func(r *sql.Rows, s *Stored) (err error) {
		*s, err = scanStored(r)
		return err
	}, query, args...)
}

func scanStored(rows *sql.Rows) (s Stored, err error) {
	var body, targets []byte
	var created, received int64
	var inContext sql.NullInt64
	err = rows.Scan(&s.ID, &s.MeshID, &s.Session, &s.MessageID, &s.ClientID, &s.Sender, &s.Member, &s.From, &s.Verified, &s.Doubt, &s.Sealing, &body, &s.Error,
		&s.Priority, &s.Topic, &s.ReplyTo, &created, &received, &s.Read, &s.WantsReceipt, &inContext, &s.MaybeSeen, &targets, &s.Compared)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(targets, &s.To); err != nil {
		return s, fmt.Errorf("read message %s: %w", s.MessageID, err)
	}
	s.Body = string(body)
	s.CreatedAt, s.ReceivedAt = time.UnixMilli(created).UTC(), time.UnixMilli(received).UTC()
	if inContext.Valid {
		s.ContextAt = time.UnixMilli(inContext.Int64).UTC()
	}
	if s.From == "" {
		s.From = s.SenderKey().Short()
	}
	return s, nil
}

// MarkRead marks messages as read by a person. No session is notified of them any more.
func (b *Inbox) MarkRead(ctx context.Context, list []Stored, now time.Time) error {
	if len(list) == 0 {
		return nil
	}
	return b.inTx(ctx, "mark messages as read", func(tx *sql.Tx) error {
		for i := range list {
			if _, err := tx.ExecContext(ctx, `UPDATE message SET read_at = ? WHERE id = ? AND read_at IS NULL AND taken_at IS NULL`, now.UnixMilli(), list[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// Prune deletes messages that were read more than 30 days ago and returns how many. No
// broker keeps messages for that long, so none of them comes again.
func (b *Inbox) Prune(ctx context.Context, now time.Time) (int, error) {
	res, err := b.db.ExecContext(ctx, `DELETE FROM message WHERE read_at < ?`, now.Add(-keepRead).UnixMilli())
	if err != nil {
		return 0, fmt.Errorf("prune inbox: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("prune inbox: %w", err)
	}
	return int(n), nil
}
