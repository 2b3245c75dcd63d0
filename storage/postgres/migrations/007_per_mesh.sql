-- Each mesh numbers its own deliveries, so that a broker can load one mesh without the others.
ALTER TABLE claudemesh.deliveries DROP CONSTRAINT deliveries_pkey;
ALTER TABLE claudemesh.deliveries ADD CONSTRAINT deliveries_pkey PRIMARY KEY (mesh_id, seq);

-- The highest seq of a delivery and the newest id of a message in each mesh. The other
-- tables don't keep them. Each mesh starts from the highest of all meshes.
CREATE TABLE claudemesh.mesh_marks (
    mesh_id      uuid PRIMARY KEY,
    last_seq     bigint NOT NULL,
    last_message uuid
);
INSERT INTO claudemesh.mesh_marks (mesh_id, last_seq, last_message)
    SELECT m.id, k.last_seq, k.last_message
    FROM (SELECT id FROM claudemesh.meshes UNION SELECT mesh_id FROM claudemesh.messages) m, claudemesh.marks k;
DROP TABLE claudemesh.marks;

-- Hellos are read by mesh. The mesh of earlier hellos is unknown; they have the zero id.
ALTER TABLE claudemesh.hellos ADD COLUMN mesh_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';
ALTER TABLE claudemesh.hellos ALTER COLUMN mesh_id DROP DEFAULT;
ALTER TABLE claudemesh.hellos DROP CONSTRAINT hellos_pkey;
ALTER TABLE claudemesh.hellos ADD CONSTRAINT hellos_pkey PRIMARY KEY (mesh_id, signature);
