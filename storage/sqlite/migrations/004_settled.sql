-- Most recipients have acknowledged a message before it is stored. Their deliveries
-- never change again and are only read with the message. So they are packed in its row
-- (column.Settled describes the format; NULL: there are none) and have no rows and index
-- entries of their own. Deliveries that already have rows keep them.
ALTER TABLE messages ADD COLUMN settled BLOB;

-- One index replaces two. It has a member's messages in their order, and also finds a
-- message by its id or a part of it, sender by sender.
DROP INDEX messages_id;
DROP INDEX messages_sent;
CREATE UNIQUE INDEX messages_sender ON messages (mesh_id, sender_member, id);

-- Every commit raises both, because the tables no longer tell the highest seq.
ALTER TABLE marks ADD COLUMN last_message BLOB;
UPDATE marks SET
    last_seq = max(last_seq, (SELECT coalesce(max(seq), 0) FROM deliveries)),
    last_message = (SELECT max(id) FROM messages);
