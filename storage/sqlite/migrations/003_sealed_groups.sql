-- Whether the client of a presence opens messages sealed under the mesh key.
ALTER TABLE presences ADD COLUMN sealed_groups INTEGER NOT NULL DEFAULT 0 CHECK (sealed_groups IN (0, 1));
