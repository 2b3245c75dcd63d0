-- What a check of the database writes, to see that a large message could be stored.
CREATE TABLE IF NOT EXISTS trial (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
);
