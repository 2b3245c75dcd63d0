-- oldest: 8
-- Brokers that share the database are nodes of a cluster, which have an address. A broker
-- without one has the database alone.
ALTER TABLE claudemesh.nodes
    ADD COLUMN address    text NOT NULL DEFAULT '',
    ADD COLUMN public_key bytea NOT NULL DEFAULT '',
    ADD COLUMN program    text NOT NULL DEFAULT '', -- its version
    ADD COLUMN draining   boolean NOT NULL DEFAULT false, -- gives its meshes away and gets no more
    ADD COLUMN elsewhere  boolean NOT NULL DEFAULT false, -- the same, since its address leads to something else
    ADD COLUMN clock_off  boolean NOT NULL DEFAULT false, -- the same, since its clock is wrong
    ADD COLUMN clock_ahead interval NOT NULL DEFAULT '0', -- of the database's clock
    ADD COLUMN renewals   bigint NOT NULL DEFAULT 0; -- of its lease: a backup that is restored has fewer

-- Which node of a cluster owns which mesh.
CREATE TABLE claudemesh.mesh_owners (
    mesh_id  uuid PRIMARY KEY,
    node_id  bigint NOT NULL REFERENCES claudemesh.nodes ON DELETE CASCADE,
    since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    moves_to bigint -- the node to which an operator moves it, which may have gone since
);
CREATE INDEX mesh_owners_node ON claudemesh.mesh_owners (node_id, since);
CREATE INDEX mesh_owners_moves ON claudemesh.mesh_owners (node_id) WHERE moves_to IS NOT NULL;

-- Every transaction of a node that writes to meshes begins with this. The lock of the node,
-- which require_lease shares, keeps the answer true until the transaction ends: whoever
-- takes meshes from the node takes that lock exclusively.
CREATE FUNCTION claudemesh.require_meshes(node bigint, meshes uuid[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    lost text;
BEGIN
    PERFORM claudemesh.require_lease(node);
    SELECT string_agg(m::text, ' ') INTO lost FROM unnest(meshes) m
        WHERE NOT EXISTS (SELECT FROM claudemesh.mesh_owners o WHERE o.mesh_id = m AND o.node_id = node OFFSET 0);
    IF lost IS NOT NULL THEN
        RAISE EXCEPTION 'this node does not own every mesh that it writes to' USING ERRCODE = 'CM003', DETAIL = lost;
    END IF;
END
$$;
