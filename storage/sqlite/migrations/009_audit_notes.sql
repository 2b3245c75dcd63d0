-- The secret key that signs the notes of the audit logs, for all meshes.
CREATE TABLE audit_key (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seed BLOB NOT NULL CHECK (length(seed) = 32)
);

-- Signed announcements of restores from a backup.
CREATE TABLE audit_restores (
    mesh_id      BLOB NOT NULL CHECK (length(mesh_id) = 16),
    at           INTEGER NOT NULL,
    announcement TEXT NOT NULL,
    PRIMARY KEY (mesh_id, at)
) WITHOUT ROWID;

-- The signed checkpoint of the newest entry that was pruned from a log. The remaining
-- entries follow it.
CREATE TABLE audit_pruned (
    mesh_id    BLOB PRIMARY KEY CHECK (length(mesh_id) = 16),
    seq        INTEGER NOT NULL,
    checkpoint TEXT NOT NULL
) WITHOUT ROWID;
