-- Most recipients have acknowledged a message before it is stored. Their deliveries
-- never change again and are read with the message only, so they stand packed in its
-- row (column.Settled says how; NULL: there are none), without rows and index entries
-- of their own. Those that were stored as rows before stay rows.
ALTER TABLE messages ADD COLUMN settled BLOB;

-- One index instead of two: a member's messages in their order, which is also how to
-- find a message by its id or by a part of it, sender by sender.
DROP INDEX messages_id;
DROP INDEX messages_sent;
CREATE UNIQUE INDEX messages_sender ON messages (mesh_id, sender_member, id);

-- Every commit raises both, since the tables do not tell the highest seq any more.
ALTER TABLE marks ADD COLUMN last_message BLOB;
UPDATE marks SET
    last_seq = max(last_seq, (SELECT coalesce(max(seq), 0) FROM deliveries)),
    last_message = (SELECT max(id) FROM messages);
