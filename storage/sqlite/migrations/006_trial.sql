-- A check writes here, to see whether the database can store a large message.
CREATE TABLE IF NOT EXISTS trial (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    body BLOB NOT NULL
);
