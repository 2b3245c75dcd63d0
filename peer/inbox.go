package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "modernc.org/sqlite" // the driver
)

const inboxName = "inbox.db"

// Inbox keeps received messages on disk, of all meshes of one Dir. Several
// processes may use it at once.
type Inbox struct{ db *sql.DB }

// Stored is a message in the inbox. See Incoming for the fields; keys are empty
// when they are unknown.
type Stored struct {
	ID         int64     `json:"-"` // rises in the order of arrival
	MessageID  string    `json:"messageId"`
	ClientID   string    `json:"clientMessageId,omitempty"`
	From       string    `json:"from"` // display name, else the start of the key
	Sender     string    `json:"senderPubkey"`
	Member     string    `json:"senderMemberPubkey,omitempty"`
	Sealing    Sealing   `json:"sealing"`
	Body       string    `json:"body"`
	Error      string    `json:"error,omitempty"`
	Priority   string    `json:"priority"`
	ReplyTo    string    `json:"replyTo,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	ReceivedAt time.Time `json:"receivedAt"`
	Read       bool      `json:"read"` // shown before
}

// inboxSchema is applied at every open; it does nothing to what is there.
const inboxSchema = `
CREATE TABLE IF NOT EXISTS message (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	mesh_id     TEXT NOT NULL,
	dedupe_key  TEXT NOT NULL,
	message_id  TEXT NOT NULL,
	client_id   TEXT NOT NULL,
	sender      TEXT NOT NULL,
	member      TEXT NOT NULL,
	name        TEXT NOT NULL,
	sealing     TEXT NOT NULL,
	body        BLOB NOT NULL,
	error       TEXT NOT NULL,
	priority    TEXT NOT NULL,
	reply_to    TEXT NOT NULL,
	created_at  INTEGER NOT NULL, -- Unix ms
	received_at INTEGER NOT NULL, -- Unix ms
	read_at     INTEGER,          -- Unix ms; NULL: unread
	UNIQUE (mesh_id, dedupe_key)
) STRICT;
CREATE INDEX IF NOT EXISTS message_unread ON message (mesh_id, id) WHERE read_at IS NULL;
`

// OpenInbox opens the inbox of a directory, which must exist, and creates it on
// first use. What Add has stored survives a loss of power.
func OpenInbox(ctx context.Context, d Dir) (*Inbox, error) {
	path := d.Path(inboxName)
	// SQLite would create the file with the mode of the umask.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	file.Close()
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	db.SetMaxOpenConns(1) // one writer; others wait in line here instead of for the file
	if _, err := db.ExecContext(ctx, inboxSchema); err != nil {
		db.Close()
		return nil, fmt.Errorf("open inbox %s: %w", path, err)
	}
	return &Inbox{db}, nil
}

// Close closes the inbox.
func (b *Inbox) Close() error { return b.db.Close() }

// Add stores a message and reports whether it is new; one that was there already
// stays as it is.
func (b *Inbox) Add(ctx context.Context, meshID string, m *Incoming, now time.Time) (added bool, err error) {
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
	res, err := b.db.ExecContext(ctx, `
		INSERT INTO message (mesh_id, dedupe_key, message_id, client_id, sender, member, name, sealing, body, error, priority, reply_to, created_at, received_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (mesh_id, dedupe_key) DO NOTHING`,
		meshID, m.DedupeKey(), m.MessageID, m.ClientID, m.Sender.String(), member, m.Name, string(m.Sealing), body,
		reason, string(m.Priority), m.ReplyTo, m.CreatedAt.UnixMilli(), now.UnixMilli())
	if err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("store message: %w", err)
	}
	return n == 1, nil
}

// ListOptions choose messages of an inbox.
type ListOptions struct {
	All   bool  // those that were read too
	After int64 // only those with a higher ID
	Limit int   // the newest so many; 0: all
}

// List returns messages in the order in which they came.
func (b *Inbox) List(ctx context.Context, meshID string, o ListOptions) (list []Stored, err error) {
	limit := o.Limit
	if limit <= 0 {
		limit = -1 // SQLite: no limit
	}
	rows, err := b.db.QueryContext(ctx, `
		SELECT * FROM (
			SELECT id, message_id, client_id, sender, member, name, sealing, body, error, priority, reply_to, created_at, received_at, read_at IS NOT NULL
			FROM message WHERE mesh_id = ? AND id > ? AND (? OR read_at IS NULL) ORDER BY id DESC LIMIT ?
		) ORDER BY id`, meshID, o.After, o.All, limit)
	if err != nil {
		return nil, fmt.Errorf("list inbox: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s Stored
		var body []byte
		var created, received int64
		if err := rows.Scan(&s.ID, &s.MessageID, &s.ClientID, &s.Sender, &s.Member, &s.From, &s.Sealing, &body, &s.Error,
			&s.Priority, &s.ReplyTo, &created, &received, &s.Read); err != nil {
			return nil, fmt.Errorf("list inbox: %w", err)
		}
		s.Body = string(body)
		s.CreatedAt, s.ReceivedAt = time.UnixMilli(created).UTC(), time.UnixMilli(received).UTC()
		if s.From == "" {
			s.From = s.Sender[:8]
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list inbox: %w", err)
	}
	return list, nil
}

// MarkRead marks messages as read.
func (b *Inbox) MarkRead(ctx context.Context, list []Stored, now time.Time) error {
	if len(list) == 0 {
		return nil
	}
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("mark messages as read: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for i := range list {
		if _, err := tx.ExecContext(ctx, `UPDATE message SET read_at = ? WHERE id = ? AND read_at IS NULL`, now.UnixMilli(), list[i].ID); err != nil {
			return fmt.Errorf("mark messages as read: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("mark messages as read: %w", err)
	}
	return nil
}
