-- Ids are uuids, and keys have 32 bytes. Lists and maps are JSON in text columns:
-- nobody queries them, and they come back unchanged. A value that is not set is NULL;
-- a text that is not set is ''. Times are Unix milliseconds, in both storages;
-- to_timestamp(at / 1000.0) shows them.

CREATE TABLE claudemesh.meshes (
    id         uuid PRIMARY KEY,
    created_at bigint,
    slug       text NOT NULL,
    name       text NOT NULL,
    owner      bytea CHECK (length(owner) = 32)
);

CREATE TABLE claudemesh.members (
    id           uuid PRIMARY KEY,
    mesh_id      uuid NOT NULL REFERENCES claudemesh.meshes (id),
    joined_at    bigint,
    removed_at   bigint,
    bind_before  bigint,
    key          bytea CHECK (length(key) = 32), -- NULL until a v1 claim is bound
    display_name text NOT NULL,
    role         text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    groups       text NOT NULL,
    grants       text NOT NULL
);
CREATE UNIQUE INDEX members_key ON claudemesh.members (mesh_id, key) WHERE key IS NOT NULL;
CREATE INDEX members_mesh ON claudemesh.members (mesh_id);

CREATE TABLE claudemesh.invites (
    id              uuid PRIMARY KEY,
    mesh_id         uuid NOT NULL REFERENCES claudemesh.meshes (id),
    created_by      uuid,
    uses            bigint NOT NULL,
    used            bigint NOT NULL CHECK (used BETWEEN 0 AND uses),
    expires_at      bigint,
    created_at      bigint,
    revoked_at      bigint,
    kind            text NOT NULL CHECK (kind IN ('link', 'token')),
    code            text UNIQUE,
    claim_key       bytea CHECK (length(claim_key) = 32),
    sealed_root_key text NOT NULL,
    token_hash      bytea UNIQUE CHECK (length(token_hash) = 32),
    role            text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    groups          text NOT NULL
);
CREATE INDEX invites_mesh ON claudemesh.invites (mesh_id, created_at, id);

CREATE TABLE claudemesh.presences (
    mesh_id      uuid NOT NULL,
    id           uuid,
    member_id    uuid,
    pid          bigint NOT NULL,
    status_at    bigint,
    connected_at bigint,
    last_seen_at bigint,
    ended_at     bigint, -- NULL: online or leased
    source       smallint NOT NULL,
    proven       boolean NOT NULL,
    visible      boolean NOT NULL,
    identity     text COLLATE "C" NOT NULL CHECK (identity <> ''),
    member_key   bytea CHECK (length(member_key) = 32),
    session_key  bytea CHECK (length(session_key) = 32),
    role         text NOT NULL,
    session_id   text NOT NULL,
    cwd          text NOT NULL,
    display_name text NOT NULL,
    hostname     text NOT NULL,
    peer_type    text NOT NULL,
    channel      text NOT NULL,
    model        text NOT NULL,
    groups       text NOT NULL,
    summary      text NOT NULL,
    status       text NOT NULL,
    profile      text,
    stats        text,
    PRIMARY KEY (mesh_id, identity)
);
CREATE INDEX presences_ended ON claudemesh.presences (ended_at) WHERE ended_at IS NOT NULL;

-- Without statistics, the planner takes any index with a matching column for as good
-- as the right one, and may read all that is pending in a mesh to find one delivery.
-- So the conditions of the partial indexes below differ in their form: a query that
-- asks for state < 1 can't use an index for state = 0, and a query that asks for
-- length(client_id) > 0 can't use an index for client_id <> ''.

-- The tables of the message path have no foreign keys: the transaction that writes a
-- row also writes or reads the row that it refers to, and the sweep deletes both
-- together.

CREATE TABLE claudemesh.messages (
    mesh_id           uuid NOT NULL,
    id                uuid NOT NULL,
    sender_member     uuid NOT NULL,
    created_at        bigint NOT NULL,
    body_version      bigint NOT NULL,
    key_epoch         bigint NOT NULL,
    sender_member_key bytea,
    sender_key        bytea,
    sender_name       text NOT NULL,
    target_spec       text NOT NULL,
    priority          text NOT NULL CHECK (priority IN ('now', 'next', 'low')),
    client_id         text COLLATE "C" NOT NULL,
    fingerprint       text NOT NULL,
    topic             text NOT NULL,
    reply_to          text NOT NULL,
    mentions          text NOT NULL,
    -- The mesh comes first, so that a search for a prefix reads only messages of that mesh.
    PRIMARY KEY (mesh_id, id)
);
CREATE UNIQUE INDEX messages_client ON claudemesh.messages (mesh_id, sender_member, client_id) WHERE client_id <> '';
CREATE INDEX messages_sent ON claudemesh.messages (sender_member, id) WHERE length(client_id) > 0;
CREATE INDEX messages_created ON claudemesh.messages (created_at);

-- A body is here exactly as long as a delivery of its message is pending. It has its own
-- table, because acknowledgements are the most frequent writes, and deleting a row costs
-- less than rewriting the message with all its index entries.
CREATE TABLE claudemesh.bodies (
    mesh_id    uuid NOT NULL,
    message_id uuid NOT NULL,
    nonce      text NOT NULL,
    ciphertext text NOT NULL,
    PRIMARY KEY (mesh_id, message_id)
);
-- Ciphertext doesn't compress.
ALTER TABLE claudemesh.bodies ALTER COLUMN ciphertext SET STORAGE EXTERNAL;

CREATE TABLE claudemesh.deliveries (
    seq         bigint PRIMARY KEY CHECK (seq > 0),
    mesh_id     uuid NOT NULL,
    message_id  uuid NOT NULL,
    settled_at  bigint CHECK (state <> 0 OR settled_at IS NULL),
    state       smallint NOT NULL CHECK (state BETWEEN 0 AND 3), -- pending, delivered, expired, gone
    urgent      boolean NOT NULL, -- the message has priority now
    same_member boolean NOT NULL,
    key         bytea,
    mailbox     text COLLATE "C" NOT NULL CHECK (mailbox <> ''),
    name        text NOT NULL
);
CREATE INDEX deliveries_pending ON claudemesh.deliveries (mesh_id, mailbox, seq) WHERE state = 0;
CREATE INDEX deliveries_urgent ON claudemesh.deliveries (mesh_id, mailbox, seq) WHERE state = 0 AND urgent;
CREATE INDEX deliveries_message ON claudemesh.deliveries (message_id, state);

CREATE TABLE claudemesh.audit_entries (
    mesh_id uuid NOT NULL,
    seq     bigint NOT NULL CHECK (seq > 0),
    at      bigint NOT NULL,
    kind    text NOT NULL,
    actor   text NOT NULL,
    detail  text NOT NULL,
    prev    bytea NOT NULL CHECK (length(prev) = 32),
    hash    bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (mesh_id, seq)
);

CREATE TABLE claudemesh.audit_heads (
    mesh_id uuid PRIMARY KEY,
    seq     bigint NOT NULL CHECK (seq > 0),
    hash    bytea NOT NULL CHECK (length(hash) = 32)
);

-- The broker must not accept the hellos of the last minutes again.
CREATE TABLE claudemesh.hellos (
    at        bigint NOT NULL,
    signature bytea PRIMARY KEY CHECK (length(signature) = 64)
);
CREATE INDEX hellos_at ON claudemesh.hellos (at);

-- The tables don't tell the highest seq of the deliveries that were deleted.
CREATE TABLE claudemesh.marks (
    id       integer PRIMARY KEY CHECK (id = 1),
    last_seq bigint NOT NULL
);
INSERT INTO claudemesh.marks (id, last_seq) VALUES (1, 0);
