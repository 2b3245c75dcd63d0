-- Most recipients have acknowledged a message before it is stored. Their deliveries
-- never change again and are only read with the message. So they are packed in its row
-- (column.Settled describes the format; NULL: there are none) and have no rows and index
-- entries of their own. Deliveries that already have rows keep them.
ALTER TABLE claudemesh.messages ADD COLUMN settled bytea;
-- Keys don't compress.
ALTER TABLE claudemesh.messages ALTER COLUMN settled SET STORAGE EXTERNAL;

-- The backlog finds its messages by their senders; see below.
ALTER TABLE claudemesh.deliveries ADD COLUMN sender_member uuid;
UPDATE claudemesh.deliveries d SET sender_member = m.sender_member FROM claudemesh.messages m
    WHERE d.state = 0 AND m.mesh_id = d.mesh_id AND m.id = d.message_id;
ALTER TABLE claudemesh.deliveries ADD CHECK (state <> 0 OR sender_member IS NOT NULL);

-- One index replaces two. It has a member's messages in their order, and also finds a
-- message by its id or a part of it, sender by sender.
ALTER TABLE claudemesh.messages DROP CONSTRAINT messages_pkey;
DROP INDEX claudemesh.messages_sent;
ALTER TABLE claudemesh.messages ADD CONSTRAINT messages_pkey PRIMARY KEY (mesh_id, sender_member, id);

-- Every commit raises both, because the tables no longer tell the highest seq.
ALTER TABLE claudemesh.marks ADD COLUMN last_message uuid;
UPDATE claudemesh.marks SET
    last_seq = greatest(last_seq, (SELECT max(seq) FROM claudemesh.deliveries)),
    last_message = (SELECT id FROM claudemesh.messages ORDER BY id DESC LIMIT 1);
