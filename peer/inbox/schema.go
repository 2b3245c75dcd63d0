package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/visible/alike"
)

// schema lists the steps of the schema of the inbox's file. Times are in Unix
// milliseconds.
//
// A message is unread, then taken by a session's tool call, then read: when the session
// has it in its context. When a person reads a message, it is read at once.
var schema = []disk.Step{
	setAside,
	func(ctx context.Context, tx *sql.Tx) error {
		if err := disk.SQL(messagesAndContacts)(ctx, tx); err != nil {
			return err
		}
		return takeBack(ctx, tx)
	},
	disk.SQL(`ALTER TABLE message ADD COLUMN maybe_seen INTEGER NOT NULL DEFAULT 0 CHECK (maybe_seen IN (0, 1)); -- taken once, and nobody knows what became of it`),
	func(ctx context.Context, tx *sql.Tx) error {
		if err := disk.SQL(namePins)(ctx, tx); err != nil {
			return err
		}
		return pinContacts(ctx, tx)
	},
	disk.SQL(`ALTER TABLE message ADD COLUMN targets TEXT NOT NULL DEFAULT 'null'; -- JSON: whom a message to many was for`),
}

// unversioned is the new name of a table of messages from before the schema had versions.
// It holds members' mail, none of it verified.
const unversioned = "message_0"

func setAside(ctx context.Context, tx *sql.Tx) error {
	var there bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'message')`).Scan(&there)
	if err != nil || !there {
		return err
	}
	return disk.SQL(`ALTER TABLE message RENAME TO `+unversioned+`; DROP INDEX IF EXISTS message_unread`)(ctx, tx)
}

// takeBack moves the rows that setAside has set aside into the new table.
func takeBack(ctx context.Context, tx *sql.Tx) error {
	var there bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)`, unversioned).Scan(&there)
	if err != nil || !there {
		return err
	}
	return disk.SQL(`INSERT INTO message (id, mesh_id, session, dedupe_key, message_id, client_id, sender, member, name, sealing, body, error,
	priority, reply_to, verified, doubt, wants_receipt, created_at, received_at, read_at)
SELECT id, mesh_id, '', dedupe_key, message_id, client_id, sender, member, name, sealing, body, error,
	priority, reply_to, 0, 'it came before senders were verified', 0, created_at, received_at, read_at
FROM `+unversioned+` ORDER BY id;
DROP TABLE `+unversioned)(ctx, tx)
}

const messagesAndContacts = `
CREATE TABLE message (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	mesh_id       TEXT NOT NULL,
	session       TEXT NOT NULL,             -- whom it came for; '': the member
	dedupe_key    TEXT NOT NULL,
	message_id    TEXT NOT NULL,
	client_id     TEXT NOT NULL,
	sender        TEXT NOT NULL,
	member        TEXT NOT NULL,
	name          TEXT NOT NULL,
	sealing       TEXT NOT NULL,
	body          BLOB NOT NULL,
	error         TEXT NOT NULL,
	priority      TEXT NOT NULL,
	topic         TEXT NOT NULL DEFAULT '',
	reply_to      TEXT NOT NULL,
	verified      INTEGER NOT NULL CHECK (verified IN (0, 1)),
	doubt         TEXT NOT NULL,
	wants_receipt INTEGER NOT NULL CHECK (wants_receipt IN (0, 1)),
	created_at    INTEGER NOT NULL,          -- the broker's clock
	received_at   INTEGER NOT NULL,
	announced_at  INTEGER,                   -- a session was told that there is mail
	taken_at      INTEGER,
	taken_session TEXT,                      -- member mail may be taken by any
	taken_by      TEXT,                      -- the tool call
	context_at    INTEGER,
	read_at       INTEGER,
	UNIQUE (mesh_id, dedupe_key, session),
	CHECK ((taken_at IS NULL) = (taken_session IS NULL) AND (taken_at IS NULL) = (taken_by IS NULL)),
	CHECK (context_at IS NULL OR taken_at IS NOT NULL AND read_at IS NOT NULL)
) STRICT;
CREATE INDEX message_unread ON message (mesh_id, session, id) WHERE read_at IS NULL;
CREATE INDEX message_taken ON message (taken_session, taken_by) WHERE taken_at IS NOT NULL AND read_at IS NULL;
CREATE INDEX message_read ON message (read_at) WHERE read_at IS NOT NULL;

CREATE TABLE contact (
	id           INTEGER PRIMARY KEY AUTOINCREMENT, -- rises in the order of acquaintance
	mesh_id      TEXT NOT NULL,
	member       TEXT NOT NULL,
	name         TEXT NOT NULL,                     -- the first that it used
	folded       TEXT NOT NULL,                     -- name, as names are compared; '' with no name
	pinned_at    INTEGER NOT NULL,
	confirmed_at INTEGER,
	UNIQUE (mesh_id, member)
) STRICT;
CREATE INDEX contact_folded ON contact (mesh_id, folded);
`

// namePins records which members have used a name.
const namePins = `
CREATE TABLE name_pin (
	id           INTEGER PRIMARY KEY AUTOINCREMENT, -- rises in the order of first use
	mesh_id      TEXT NOT NULL,
	folded       TEXT NOT NULL,
	member       TEXT NOT NULL,
	name         TEXT NOT NULL,
	pinned_at    INTEGER NOT NULL,
	trusted_at   INTEGER,                           -- the user said that it is this member's
	confirmed_at INTEGER,                           -- the key was compared under this name
	UNIQUE (mesh_id, member, name)
) STRICT;
CREATE INDEX name_pin_folded ON name_pin (mesh_id, folded);
`

// pinContacts pins the names of the contacts from before version 4, in the order in which
// the user met them.
func pinContacts(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, name FROM contact ORDER BY id`)
	if err != nil {
		return err
	}
	names := make(map[int64]string)
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return errors.Join(err, rows.Close())
		}
		names[id] = name
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(names)) {
		_, err := tx.ExecContext(ctx, `UPDATE contact SET folded = ? WHERE id = ?`, alike.Skeleton(names[id]), id)
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO name_pin (mesh_id, folded, member, name, pinned_at, confirmed_at)
		SELECT mesh_id, folded, member, name, pinned_at, confirmed_at FROM contact WHERE folded <> '' ORDER BY id`)
	return err
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// inTx runs do in a transaction that holds the write lock from its beginning. what names
// the operation in errors.
func (b *Inbox) inTx(ctx context.Context, what string, do func(tx *sql.Tx) error) error {
	if err := disk.InTx(ctx, b.db, do); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
