-- Every start of a broker is a node with a lease. The lease replaces the lock and the epoch
-- of older brokers. Only the database's clock decides how long a lease runs.
CREATE TABLE claudemesh.nodes (
    id           bigint PRIMARY KEY, -- random; it is also the key of the node's advisory lock
    lease_until  timestamptz NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    pid          integer NOT NULL,
    knows_schema integer NOT NULL, -- the newest version that it knows
    host         text NOT NULL
);

-- The oldest version that a broker may know to work with this one; NULL: this one.
ALTER TABLE claudemesh.schema_version ADD COLUMN oldest integer CHECK (oldest BETWEEN 1 AND version);

-- Every transaction that writes begins with this function, which takes the node's lock in
-- shared mode. A broker that removes the node takes the lock exclusively, and so waits for
-- these transactions. Because the function is volatile, it sees what was committed while
-- it waited.
CREATE FUNCTION claudemesh.require_lease(node bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    until timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(node);
    SELECT n.lease_until INTO until FROM claudemesh.nodes n WHERE n.id = node;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another broker has claimed the database' USING ERRCODE = 'CM001';
    ELSIF until <= clock_timestamp() THEN
        RAISE EXCEPTION 'the lease of this broker has run out' USING ERRCODE = 'CM002';
    END IF;
END
$$;

-- An older broker that still runs without its lock has lost its claim.
UPDATE claudemesh.claim SET epoch = epoch + 1;
CREATE OR REPLACE FUNCTION claudemesh.require_claim(mine bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION 'a newer broker has claimed the database' USING ERRCODE = 'CM001';
END
$$;
