-- Most recipients have acknowledged a message before it is stored. Their deliveries
-- never change again and are read with the message only, so they stand packed in its
-- row (column.Settled says how; NULL: there are none), without rows and index entries
-- of their own. Those that were stored as rows before stay rows.
ALTER TABLE claudemesh.messages ADD COLUMN settled bytea;
-- Keys do not compress; don't try.
ALTER TABLE claudemesh.messages ALTER COLUMN settled SET STORAGE EXTERNAL;

-- The backlog finds its messages by their senders, see below.
ALTER TABLE claudemesh.deliveries ADD COLUMN sender_member uuid;
UPDATE claudemesh.deliveries d SET sender_member = m.sender_member FROM claudemesh.messages m
    WHERE d.state = 0 AND m.mesh_id = d.mesh_id AND m.id = d.message_id;
ALTER TABLE claudemesh.deliveries ADD CHECK (state <> 0 OR sender_member IS NOT NULL);

-- One index instead of two: a member's messages in their order, which is also how to
-- find a message by its id or by a part of it, sender by sender.
ALTER TABLE claudemesh.messages DROP CONSTRAINT messages_pkey;
DROP INDEX claudemesh.messages_sent;
ALTER TABLE claudemesh.messages ADD CONSTRAINT messages_pkey PRIMARY KEY (mesh_id, sender_member, id);

-- Every commit raises both, since the tables do not tell the highest seq any more.
ALTER TABLE claudemesh.marks ADD COLUMN last_message uuid;
UPDATE claudemesh.marks SET
    last_seq = greatest(last_seq, (SELECT max(seq) FROM claudemesh.deliveries)),
    last_message = (SELECT id FROM claudemesh.messages ORDER BY id DESC LIMIT 1);
