-- Ids are 16 bytes, keys 32; times are Unix milliseconds; lists and maps are
-- JSON; what is not set is NULL, except texts, which are ''.

CREATE TABLE meshes (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    slug       TEXT NOT NULL,
    name       TEXT NOT NULL,
    owner      BLOB CHECK (length(owner) = 32),
    created_at INTEGER
) WITHOUT ROWID;

CREATE TABLE members (
    id           BLOB PRIMARY KEY CHECK (length(id) = 16),
    mesh_id      BLOB NOT NULL REFERENCES meshes (id),
    key          BLOB CHECK (length(key) = 32), -- NULL until a v1 claim is bound
    display_name TEXT NOT NULL,
    role         TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    groups       TEXT NOT NULL,
    joined_at    INTEGER,
    removed_at   INTEGER,
    bind_before  INTEGER,
    grants       TEXT NOT NULL
);
CREATE UNIQUE INDEX members_key ON members (mesh_id, key) WHERE key IS NOT NULL;
CREATE INDEX members_mesh ON members (mesh_id);

CREATE TABLE invites (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    mesh_id         BLOB NOT NULL REFERENCES meshes (id),
    kind            TEXT NOT NULL CHECK (kind IN ('link', 'token')),
    code            TEXT UNIQUE,
    claim_key       BLOB CHECK (length(claim_key) = 32),
    sealed_root_key TEXT NOT NULL,
    token_hash      BLOB UNIQUE CHECK (length(token_hash) = 32),
    role            TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    groups          TEXT NOT NULL,
    uses            INTEGER NOT NULL,
    used            INTEGER NOT NULL CHECK (used BETWEEN 0 AND uses),
    expires_at      INTEGER,
    created_at      INTEGER,
    created_by      BLOB,
    revoked_at      INTEGER
);
CREATE INDEX invites_mesh ON invites (mesh_id, created_at, id);

CREATE TABLE presences (
    mesh_id      BLOB NOT NULL CHECK (length(mesh_id) = 16),
    identity     TEXT NOT NULL CHECK (identity <> ''),
    id           BLOB,
    member_id    BLOB,
    member_key   BLOB CHECK (length(member_key) = 32),
    session_key  BLOB CHECK (length(session_key) = 32),
    proven       INTEGER NOT NULL CHECK (proven IN (0, 1)),
    role         TEXT NOT NULL,
    session_id   TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    cwd          TEXT NOT NULL,
    display_name TEXT NOT NULL,
    hostname     TEXT NOT NULL,
    peer_type    TEXT NOT NULL,
    channel      TEXT NOT NULL,
    model        TEXT NOT NULL,
    groups       TEXT NOT NULL,
    summary      TEXT NOT NULL,
    status       TEXT NOT NULL,
    source       INTEGER NOT NULL,
    status_at    INTEGER,
    visible      INTEGER NOT NULL CHECK (visible IN (0, 1)),
    profile      TEXT,
    stats        TEXT,
    connected_at INTEGER,
    last_seen_at INTEGER,
    ended_at     INTEGER, -- NULL: online or leased
    PRIMARY KEY (mesh_id, identity)
);
CREATE INDEX presences_ended ON presences (ended_at) WHERE ended_at IS NOT NULL;

-- The tables of the message path have no foreign keys: the transaction that writes a
-- row also writes or reads the row that it refers to, and the sweep deletes both
-- together.

CREATE TABLE messages (
    -- A short number by which deliveries and bodies refer to the message. Rows
    -- under an integer key are appended, and cheap to find.
    no                INTEGER PRIMARY KEY,
    id                BLOB NOT NULL CHECK (length(id) = 16),
    mesh_id           BLOB NOT NULL CHECK (length(mesh_id) = 16),
    sender_member     BLOB NOT NULL CHECK (length(sender_member) = 16),
    sender_member_key BLOB,
    sender_key        BLOB,
    sender_name       TEXT NOT NULL,
    target_spec       TEXT NOT NULL,
    priority          TEXT NOT NULL CHECK (priority IN ('now', 'next', 'low')),
    created_at        INTEGER NOT NULL,
    client_id         TEXT NOT NULL,
    fingerprint       TEXT NOT NULL,
    topic             TEXT NOT NULL,
    reply_to          TEXT NOT NULL,
    mentions          TEXT NOT NULL,
    body_version      INTEGER NOT NULL,
    key_epoch         INTEGER NOT NULL
);
-- The mesh comes first, so that a search for a prefix reads only messages of that mesh.
CREATE UNIQUE INDEX messages_id ON messages (mesh_id, id);
CREATE UNIQUE INDEX messages_client ON messages (mesh_id, sender_member, client_id) WHERE client_id <> '';
CREATE INDEX messages_sent ON messages (mesh_id, sender_member, id) WHERE client_id <> '';
CREATE INDEX messages_created ON messages (created_at);

-- A body is here exactly as long as a delivery of its message is pending. It has its own
-- table, because acknowledgements are the most frequent writes, and deleting a row costs
-- less than rewriting the message.
CREATE TABLE bodies (
    message    INTEGER PRIMARY KEY, -- messages.no
    nonce      TEXT NOT NULL,
    ciphertext TEXT NOT NULL
);

CREATE TABLE deliveries (
    seq         INTEGER PRIMARY KEY CHECK (seq > 0),
    message     INTEGER NOT NULL, -- messages.no
    mesh_id     BLOB NOT NULL,
    mailbox     TEXT NOT NULL CHECK (mailbox <> ''),
    urgent      INTEGER NOT NULL CHECK (urgent IN (0, 1)), -- the message has priority now
    key         BLOB,
    name        TEXT NOT NULL,
    same_member INTEGER NOT NULL CHECK (same_member IN (0, 1)),
    state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), -- pending, delivered, expired, gone
    settled_at  INTEGER CHECK (state <> 0 OR settled_at IS NULL)
);
CREATE INDEX deliveries_pending ON deliveries (mesh_id, mailbox, seq) WHERE state = 0;
CREATE INDEX deliveries_urgent ON deliveries (mesh_id, mailbox, seq) WHERE state = 0 AND urgent = 1;
CREATE INDEX deliveries_message ON deliveries (message, state);

-- Entries are small, and always read in the order of their key.
CREATE TABLE audit_entries (
    mesh_id BLOB NOT NULL CHECK (length(mesh_id) = 16),
    seq     INTEGER NOT NULL CHECK (seq > 0),
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    actor   TEXT NOT NULL,
    detail  TEXT NOT NULL,
    prev    BLOB NOT NULL CHECK (length(prev) = 32),
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (mesh_id, seq)
) WITHOUT ROWID;

CREATE TABLE audit_heads (
    mesh_id BLOB PRIMARY KEY CHECK (length(mesh_id) = 16),
    seq     INTEGER NOT NULL CHECK (seq > 0),
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) WITHOUT ROWID;

-- The broker must not accept the hellos of the last minutes again.
CREATE TABLE hellos (
    signature BLOB PRIMARY KEY CHECK (length(signature) = 64),
    at        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX hellos_at ON hellos (at);

-- The tables don't tell the highest seq of the deliveries that were deleted. Writing this
-- row also shows whether the database can be written.
CREATE TABLE marks (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    last_seq   INTEGER NOT NULL,
    checked_at INTEGER NOT NULL
);
INSERT INTO marks (id, last_seq, checked_at) VALUES (1, 0, 0);
