-- Each mesh numbers its own deliveries, so that a broker can load one mesh without the others.
ALTER TABLE deliveries RENAME TO old_deliveries;
CREATE TABLE deliveries (
    mesh_id     BLOB NOT NULL CHECK (length(mesh_id) = 16),
    seq         INTEGER NOT NULL CHECK (seq > 0),
    message     INTEGER NOT NULL, -- messages.no
    mailbox     TEXT NOT NULL CHECK (mailbox <> ''),
    urgent      INTEGER NOT NULL CHECK (urgent IN (0, 1)), -- the message has priority now
    key         BLOB,
    name        TEXT NOT NULL,
    same_member INTEGER NOT NULL CHECK (same_member IN (0, 1)),
    state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), -- pending, delivered, expired, gone
    settled_at  INTEGER CHECK (state <> 0 OR settled_at IS NULL),
    PRIMARY KEY (mesh_id, seq)
) WITHOUT ROWID;
INSERT INTO deliveries (mesh_id, seq, message, mailbox, urgent, key, name, same_member, state, settled_at)
    SELECT mesh_id, seq, message, mailbox, urgent, key, name, same_member, state, settled_at
    FROM old_deliveries ORDER BY mesh_id, seq;
DROP TABLE old_deliveries;
CREATE INDEX deliveries_pending ON deliveries (mesh_id, mailbox, seq) WHERE state = 0;
CREATE INDEX deliveries_urgent ON deliveries (mesh_id, mailbox, seq) WHERE state = 0 AND urgent = 1;
CREATE INDEX deliveries_message ON deliveries (message, state);

-- The highest seq of a delivery and the newest id of a message in each mesh. The other
-- tables don't keep them. Each mesh starts from the highest of all meshes.
CREATE TABLE mesh_marks (
    mesh_id      BLOB PRIMARY KEY CHECK (length(mesh_id) = 16),
    last_seq     INTEGER NOT NULL,
    last_message BLOB CHECK (length(last_message) = 16)
) WITHOUT ROWID;
INSERT INTO mesh_marks (mesh_id, last_seq, last_message)
    SELECT m.id, k.last_seq, k.last_message FROM (SELECT id FROM meshes UNION SELECT mesh_id FROM messages) m, marks k;
DROP TABLE marks;

-- Hellos are read by mesh. The mesh of earlier hellos is unknown; they have the zero id.
ALTER TABLE hellos RENAME TO old_hellos;
CREATE TABLE hellos (
    mesh_id   BLOB NOT NULL CHECK (length(mesh_id) = 16),
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    at        INTEGER NOT NULL,
    PRIMARY KEY (mesh_id, signature)
) WITHOUT ROWID;
INSERT INTO hellos (mesh_id, signature, at) SELECT zeroblob(16), signature, at FROM old_hellos;
DROP TABLE old_hellos;
CREATE INDEX hellos_at ON hellos (at);
