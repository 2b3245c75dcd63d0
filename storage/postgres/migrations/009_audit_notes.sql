-- oldest: 8
-- The secret key that signs the notes of the audit logs, for all meshes.
CREATE TABLE claudemesh.audit_key (
    id   integer PRIMARY KEY CHECK (id = 1),
    seed bytea NOT NULL CHECK (length(seed) = 32)
);

-- Signed announcements of restores from a backup.
CREATE TABLE claudemesh.audit_restores (
    mesh_id      uuid NOT NULL,
    at           bigint NOT NULL,
    announcement text NOT NULL,
    PRIMARY KEY (mesh_id, at)
);

-- The signed checkpoint of the newest entry that was pruned from a log. The remaining
-- entries follow it.
CREATE TABLE claudemesh.audit_pruned (
    mesh_id    uuid PRIMARY KEY,
    seq        bigint NOT NULL,
    checkpoint text NOT NULL
);
