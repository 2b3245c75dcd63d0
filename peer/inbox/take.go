package inbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/wire"
)

var (
	// ErrNoMessage is returned by Find and Mail if no message has the id.
	ErrNoMessage = errors.New("no such message in the inbox")

	// ErrSeveralMessages is returned by Find and Mail if several ids start or end with the
	// given part.
	ErrSeveralMessages = errors.New("several messages match this id")
)

// Filter selects the mail that a session may see.
type Filter struct {
	Meshes  []string // ids; none: no mail
	Session string
	// MemberMail includes the member's own mail, except messages of which some session has
	// a copy.
	MemberMail bool
}

// ofFilter is the condition of a Filter, with its arguments as ?1 to ?3.
const ofFilter = `m.mesh_id IN (SELECT value FROM json_each(?1)) AND (m.session = ?2 OR ?3 AND m.session = ''
	AND NOT EXISTS (SELECT 1 FROM message d WHERE d.mesh_id = m.mesh_id AND d.dedupe_key = m.dedupe_key AND d.session <> ''))`

const unread = `m.read_at IS NULL AND m.taken_at IS NULL`

// taken is the condition for messages that a session, ?1, took and nobody confirmed.
const taken = `m.taken_session = ?1 AND m.taken_at IS NOT NULL AND m.read_at IS NULL`

func (f *Filter) args(more ...any) []any {
	meshes, err := json.Marshal(f.Meshes)
	if err != nil || f.Meshes == nil {
		meshes = []byte("[]")
	}
	return append([]any{string(meshes), f.Session, f.MemberMail}, more...)
}

// Unread describes an unread message without its body. Name comes from others.
type Unread struct {
	ID                     int64
	MeshID, Session        string // as in Mailbox
	MessageID              string
	Sender, Member, Name   string // keys in hex; Member and Name "" when unknown
	Priority               wire.Priority
	Verified, WantsReceipt bool
	Announced              bool // its session was notified of it
	ReceivedAt             time.Time
}

const unreadColumns = `m.id, m.mesh_id, m.session, m.message_id, m.sender, m.member, m.name, m.priority, m.verified, m.wants_receipt, m.announced_at IS NOT NULL, m.received_at`

// Unread returns the messages that are neither read nor taken, oldest first.
func (b *Inbox) Unread(ctx context.Context, f Filter) ([]Unread, error) {
	list, err := unreadRows(ctx, b.db, `SELECT `+unreadColumns+` FROM message m WHERE `+unread+` AND `+ofFilter+` ORDER BY m.id`, f.args()...)
	if err != nil {
		return nil, fmt.Errorf("list unread messages: %w", err)
	}
	return list, nil
}

func unreadRows(ctx context.Context, q querier, query string, args ...any) ([]Unread, error) {
	return disk.Collect(ctx, q, func(r *sql.Rows, u *Unread) error {
		var received int64
		err := r.Scan(&u.ID, &u.MeshID, &u.Session, &u.MessageID, &u.Sender, &u.Member, &u.Name, &u.Priority, &u.Verified, &u.WantsReceipt, &u.Announced, &received)
		u.ReceivedAt = time.UnixMilli(received).UTC()
		return err
	}, query, args...)
}

// CountUnread returns how many messages Unread would return.
func (b *Inbox) CountUnread(ctx context.Context, f Filter) (int, error) {
	n, err := countUnread(ctx, b.db, f)
	if err != nil {
		return 0, fmt.Errorf("count unread messages: %w", err)
	}
	return n, nil
}

func countUnread(ctx context.Context, q querier, f Filter) (n int, err error) {
	err = q.QueryRowContext(ctx, `SELECT count(*) FROM message m WHERE `+unread+` AND `+ofFilter, f.args()...).Scan(&n)
	return n, err
}

// Load returns how much unread mail of a sender is in a mailbox. The sender is a member,
// or a key whose member is unknown.
func (b *Inbox) Load(ctx context.Context, box Mailbox, sender wire.Key) (messages int, size int64, err error) {
	err = b.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(length(m.body)), 0) FROM message m
		WHERE `+unread+` AND m.mesh_id = ?1 AND m.session = ?2 AND (m.member = ?3 OR m.member = '' AND m.sender = ?3)`,
		box.MeshID, box.Session, sender.String()).Scan(&messages, &size)
	if err != nil {
		return 0, 0, fmt.Errorf("measure unread messages: %w", err)
	}
	return messages, size, nil
}

// MarkAnnounced records that a session was notified of messages, given by their ID.
func (b *Inbox) MarkAnnounced(ctx context.Context, ids []int64, now time.Time) error {
	list, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("mark messages as announced: %w", err)
	}
	if len(ids) == 0 {
		return nil
	}
	_, err = b.db.ExecContext(ctx, `UPDATE message SET announced_at = ? WHERE id IN (SELECT value FROM json_each(?)) AND announced_at IS NULL`, now.UnixMilli(), string(list))
	if err != nil {
		return fmt.Errorf("mark messages as announced: %w", err)
	}
	return nil
}

// TakeOptions say who takes messages, and how many. A limit of zero means no limit.
type TakeOptions struct {
	Filter
	ToolUse   string // names the call
	Limit     int    // messages
	Chars     int    // characters of all bodies together, but always one message
	CharsEach int    // a longer body counts as this many, because the caller cuts it
	Now       time.Time
}

// Take hands out unread messages to a session, oldest first and with their whole bodies,
// and returns how many are left. Nobody else gets the taken messages unless they are
// released. If the same tool call comes again, its first answer was lost. Take then makes
// the messages of the first answer unread again, because otherwise they would be confirmed
// unseen.
func (b *Inbox) Take(ctx context.Context, o TakeOptions) (list []Stored, remaining int, err error) {
	if o.ToolUse == "" || o.Session == "" {
		return nil, 0, errors.New("take messages: the session or the tool call has no id")
	}
	err = b.inTx(ctx, "take messages", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE message AS m SET taken_at = NULL, taken_session = NULL, taken_by = NULL
			WHERE `+taken+` AND m.taken_by = ?2`, o.Session, o.ToolUse); err != nil {
			return err
		}
		if list, err = o.choose(ctx, tx); err != nil {
			return err
		}
		for i := range list {
			if _, err := tx.ExecContext(ctx, `UPDATE message SET taken_at = ?, taken_session = ?, taken_by = ? WHERE id = ?`,
				o.Now.UnixMilli(), o.Session, o.ToolUse, list[i].ID); err != nil {
				return err
			}
			list[i].Read = true
		}
		remaining, err = countUnread(ctx, tx, o.Filter)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return list, remaining, nil
}

// choose returns the messages that fit, without reading the bodies of the others.
func (o *TakeOptions) choose(ctx context.Context, tx *sql.Tx) (list []Stored, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+storedColumns+` FROM message m WHERE `+unread+` AND `+ofFilter+` ORDER BY m.id`, o.args()...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	chars := 0
	for rows.Next() {
		s, err := scanStored(rows)
		if err != nil {
			return nil, err
		}
		n := utf8.RuneCountInString(s.Body)
		if o.CharsEach > 0 {
			n = min(n, o.CharsEach)
		}
		chars += n
		if len(list) > 0 && o.Chars > 0 && chars > o.Chars {
			break
		}
		if list = append(list, s); len(list) == o.Limit {
			break
		}
	}
	return list, rows.Err()
}

// TakenBy returns the messages that a tool call took and that were neither confirmed nor
// released.
func (b *Inbox) TakenBy(ctx context.Context, session, toolUse string) ([]Stored, error) {
	list, err := takenRows(ctx, b.db, session, toolUse)
	if err != nil {
		return nil, fmt.Errorf("list taken messages: %w", err)
	}
	return list, nil
}

func takenRows(ctx context.Context, q querier, session, toolUse string) ([]Stored, error) {
	return storedRows(ctx, q, `SELECT `+storedColumns+` FROM message m WHERE `+taken+` AND m.taken_by = ?2 ORDER BY m.id`, session, toolUse)
}

// ConfirmTaken records that messages are in the session's context. These are the messages
// that a tool call took and for which shown returns true. Before it commits, ConfirmTaken
// calls tell with them, which stores the receipts for their senders. If tell fails, nothing
// is recorded. After a crash between the two, the messages are still taken.
func (b *Inbox) ConfirmTaken(ctx context.Context, session, toolUse string, shown func(*Stored) bool, tell func([]Stored) error, now time.Time) error {
	return b.inTx(ctx, "confirm messages", func(tx *sql.Tx) error {
		list, err := takenRows(ctx, tx, session, toolUse)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(m Stored) bool { return !shown(&m) })
		for i := range list {
			if _, err := tx.ExecContext(ctx, `UPDATE message SET context_at = ?1, read_at = ?1 WHERE id = ?2`, now.UnixMilli(), list[i].ID); err != nil {
				return err
			}
		}
		return tell(list)
	})
}

// ReleaseTaken makes the unconfirmed messages of a tool call unread again and returns
// them. They count as not announced, and any session may take the member mail among them.
// maybeSeen marks them, if nobody knows whether the session has them in its context.
func (b *Inbox) ReleaseTaken(ctx context.Context, session, toolUse string, maybeSeen bool) (list []Unread, err error) {
	err = b.inTx(ctx, "release messages", func(tx *sql.Tx) error {
		const these = taken + ` AND m.taken_by = ?2`
		if list, err = unreadRows(ctx, tx, `SELECT `+unreadColumns+` FROM message m WHERE `+these+` ORDER BY m.id`, session, toolUse); err != nil {
			return err
		}
		for i := range list {
			list[i].Announced = false
		}
		_, err = tx.ExecContext(ctx, `UPDATE message AS m SET taken_at = NULL, taken_session = NULL, taken_by = NULL, announced_at = NULL,
			maybe_seen = maybe_seen OR ?3 WHERE `+these, session, toolUse, maybeSeen)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Taken is a tool call that took messages.
type Taken struct{ Session, ToolUse string }

// Taken returns the tool calls whose messages were neither confirmed nor released, oldest
// first.
func (b *Inbox) Taken(ctx context.Context) ([]Taken, error) {
	list, err := disk.Collect(ctx, b.db, func(r *sql.Rows, t *Taken) error { return r.Scan(&t.Session, &t.ToolUse) },
		`SELECT taken_session, taken_by FROM message
		WHERE taken_at IS NOT NULL AND read_at IS NULL GROUP BY taken_session, taken_by ORDER BY max(taken_at)`)
	if err != nil {
		return nil, fmt.Errorf("list taken messages: %w", err)
	}
	return list, nil
}

// Adopt gives the mail of a session, in all meshes, to its successor, unless the mail is
// in the old session's context already. It returns how many messages it gave. They count
// as not announced.
func (b *Inbox) Adopt(ctx context.Context, from, to string) (adopted int, err error) {
	if from == "" || to == "" || from == to {
		return 0, errors.New("adopt messages: two different sessions are needed")
	}
	err = b.inTx(ctx, "adopt messages", func(tx *sql.Tx) error {
		// Member mail that the old session took stays the member's.
		_, err := tx.ExecContext(ctx, `UPDATE message SET taken_at = NULL, taken_session = NULL, taken_by = NULL, announced_at = NULL
			WHERE taken_session = ? AND taken_at IS NOT NULL AND read_at IS NULL`, from)
		if err != nil {
			return err
		}
		// Messages of which the new session has a copy stay behind.
		res, err := tx.ExecContext(ctx, `UPDATE OR IGNORE message SET session = ?, announced_at = NULL WHERE session = ? AND read_at IS NULL`, to, from)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		adopted = int(n)
		return err
	})
	return adopted, err
}

// Find returns a message that a session may see, read or not. id is its MessageID or
// ClientID, or 8 characters or more of their start or end. Find includes mail that the
// session took as its member's, even if the filter excludes it. It fails with ErrNoMessage
// or ErrSeveralMessages.
func (b *Inbox) Find(ctx context.Context, f Filter, id string) (Stored, error) {
	if err := peer.CheckMessageID(id); err != nil {
		return Stored{}, fmt.Errorf("%w: %w", ErrNoMessage, err)
	}
	starts, ends := disk.StartsAndEnds(id)
	list, err := storedRows(ctx, b.db, `SELECT `+storedColumns+` FROM message m
		WHERE (`+ofFilter+` AND (m.taken_session IS NULL OR m.taken_session = ?2) OR m.mesh_id IN (SELECT value FROM json_each(?1)) AND m.taken_session = ?2)
		AND (m.message_id LIKE ?4 ESCAPE '\' OR m.client_id LIKE ?4 ESCAPE '\' OR m.message_id LIKE ?5 ESCAPE '\' OR m.client_id LIKE ?5 ESCAPE '\')
		ORDER BY m.id LIMIT 20`, f.args(starts, ends)...)
	if err != nil {
		return Stored{}, fmt.Errorf("find message: %w", err)
	}
	var exact []Stored
	for _, s := range list {
		if s.MessageID == id {
			exact = append(exact, s)
		}
	}
	if len(exact) > 0 {
		list = exact
	}
	switch len(list) {
	case 0:
		return Stored{}, fmt.Errorf("find message: %w", ErrNoMessage)
	case 1:
		return list[0], nil
	}
	return Stored{}, fmt.Errorf("find message: %w", ErrSeveralMessages)
}
