-- Whether the client of a presence opens messages sealed under the mesh key.
ALTER TABLE claudemesh.presences ADD COLUMN sealed_groups boolean NOT NULL DEFAULT false;
