package store

import (
	"context"
	"database/sql"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/disk"
)

// schema lists the migrations in order.
var schema = []disk.Step{
	disk.SQL(firstSchema),
	disk.SQL(`
-- The names, roles and groups of sessions that may come back.
CREATE TABLE known (
	session_id TEXT PRIMARY KEY,
	name       TEXT NOT NULL,
	role       TEXT NOT NULL,
	groups     TEXT NOT NULL,   -- JSON, as it was registered
	at         INTEGER NOT NULL -- Unix ms
) STRICT, WITHOUT ROWID;
`),
	disk.SQL(`
-- Cleared sessions whose mail is still to go to their successors.
CREATE TABLE handover (
	former_id  TEXT PRIMARY KEY,
	session_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`),
	disk.SQL(`
-- Whether the process has reported that a clear ended its session.
ALTER TABLE process ADD COLUMN cleared INTEGER NOT NULL DEFAULT 0;
`),
	disk.SQL(`
-- The directory of the session's Claude Code; '' for the usual one.
ALTER TABLE session ADD COLUMN config_dir TEXT NOT NULL DEFAULT '';
`),
	processesByDomain,
	disk.SQL(`
-- Sessions that a process ran earlier and whose end it has not reported.
CREATE TABLE earlier (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	domain     TEXT NOT NULL,
	pid        INTEGER NOT NULL,
	session_id TEXT NOT NULL,
	facts      TEXT NOT NULL, -- JSON
	UNIQUE (domain, pid, session_id),
	FOREIGN KEY (domain, pid) REFERENCES process ON DELETE CASCADE
) STRICT;
`),
}

// processesByDomain distinguishes processes with the same pid in containers that share the
// directory. Processes stored by an older daemon belonged to its own domain.
func processesByDomain(ctx context.Context, tx *sql.Tx) error {
	if err := disk.SQL(`
ALTER TABLE process RENAME TO old_process;
CREATE TABLE process (
	domain     TEXT NOT NULL, -- see process.Domain
	pid        INTEGER NOT NULL,
	start      TEXT NOT NULL,
	token      TEXT NOT NULL UNIQUE,
	session_id TEXT NOT NULL REFERENCES session,
	cleared    INTEGER NOT NULL,
	PRIMARY KEY (domain, pid)
) STRICT, WITHOUT ROWID;
`)(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO process SELECT ?, pid, start, token, session_id, cleared FROM old_process`, process.Domain()); err != nil {
		return err
	}
	return disk.SQL(`DROP TABLE old_process`)(ctx, tx)
}

const firstSchema = `
CREATE TABLE session (
	id         TEXT PRIMARY KEY, -- UUID
	cwd        TEXT NOT NULL,
	name       TEXT NOT NULL,
	role       TEXT NOT NULL,
	groups     TEXT NOT NULL,    -- JSON, as it was registered
	title      TEXT NOT NULL,
	model      TEXT NOT NULL,
	summary    TEXT NOT NULL,
	dnd        INTEGER NOT NULL CHECK (dnd IN (0, 1)),
	edits      TEXT NOT NULL,    -- JSON, groups joined and left since
	since      INTEGER NOT NULL, -- Unix ms
	active     INTEGER NOT NULL  -- Unix ms
) STRICT;
CREATE TABLE session_mesh (
	session_id TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
	mesh_id    TEXT NOT NULL,
	PRIMARY KEY (session_id, mesh_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE process (
	pid        INTEGER PRIMARY KEY,
	start      TEXT NOT NULL,
	token      TEXT NOT NULL UNIQUE,
	session_id TEXT NOT NULL REFERENCES session
) STRICT;
-- The sessions that a session succeeds, newest first.
CREATE TABLE succession (
	mesh_id    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	position   INTEGER NOT NULL,
	former_id  TEXT NOT NULL,
	at         INTEGER NOT NULL, -- Unix ms
	PRIMARY KEY (mesh_id, session_id, former_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT NOT NULL UNIQUE, -- client_message_id
	session_id TEXT NOT NULL,
	mesh_id    TEXT NOT NULL,
	target     TEXT NOT NULL,        -- as on the wire
	to_member  TEXT NOT NULL,        -- whose key target is; '' if target isn't a key
	to_name    TEXT NOT NULL,
	body       TEXT,                 -- NULL when the broker has it
	priority   TEXT NOT NULL,
	reply_to   TEXT NOT NULL,
	message_id TEXT NOT NULL,        -- the broker's, '' before
	state      TEXT NOT NULL,
	reason     TEXT NOT NULL,
	created    INTEGER NOT NULL,     -- Unix ms
	CHECK ((state = 'waiting') = (body IS NOT NULL))
) STRICT;
CREATE INDEX outbox_waiting ON outbox (mesh_id, session_id, seq) WHERE state = 'waiting';
-- The receipts that recipients have signed for sent messages.
CREATE TABLE recipient (
	outbox_id TEXT NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
	key       TEXT NOT NULL,
	state     TEXT NOT NULL,
	reason    TEXT NOT NULL,
	at        INTEGER NOT NULL, -- Unix ms
	PRIMARY KEY (outbox_id, key)
) STRICT, WITHOUT ROWID;
-- Receipts that senders of received messages have yet to get; session '' is the member.
CREATE TABLE confirmation (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	mesh_id    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	sender     TEXT NOT NULL,
	id         TEXT NOT NULL, -- client_message_id
	state      TEXT NOT NULL,
	reason     TEXT NOT NULL,
	at         INTEGER NOT NULL, -- Unix ms
	UNIQUE (mesh_id, session_id, sender, id, state)
) STRICT;
`
