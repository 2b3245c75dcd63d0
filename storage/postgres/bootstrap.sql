-- Tables in the schema claudemesh that guard the migrations and must exist before them.
-- This file never changes, whatever the schema's version.

CREATE TABLE claudemesh.schema_version (
    version    integer PRIMARY KEY CHECK (version > 0),
    applied_at bigint NOT NULL -- Unix milliseconds
);

-- How often the database was claimed. A broker that remembers another epoch has
-- lost its claim.
CREATE TABLE claudemesh.claim (
    id    integer PRIMARY KEY CHECK (id = 1),
    epoch bigint NOT NULL
);
INSERT INTO claudemesh.claim (id, epoch) VALUES (1, 0);

-- This function refuses a transaction of a broker that has lost its claim. A broker that
-- claims takes the same lock exclusively, and so waits for the transactions that hold it.
-- Because the function is volatile, it sees what was committed while it waited.
CREATE FUNCTION claudemesh.require_claim(mine bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7161127435829133827);
    IF NOT EXISTS (SELECT FROM claudemesh.claim WHERE id = 1 AND epoch = mine) THEN
        RAISE EXCEPTION 'another broker has claimed the database' USING ERRCODE = 'CM001';
    END IF;
END
$$;
