-- oldest: 8
-- Brokers that wait because another one has the database, or has their address. They are for
-- operators to see: no broker acts on them.
CREATE TABLE claudemesh.candidates (
    id           bigint PRIMARY KEY, -- random; not that of the node that the broker may become
    seen_at      timestamptz NOT NULL DEFAULT clock_timestamp(), -- a row that is not renewed counts no more
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(), -- of the waiting
    pid          integer NOT NULL,
    knows_schema integer NOT NULL, -- this and the next three as in nodes
    host         text NOT NULL,
    address      text NOT NULL,
    program      text NOT NULL,
    reason       text NOT NULL -- why the broker waits, in words for people
);
