-- What a broker may have left that counted the deliveries of all meshes together;
-- storagetest.UpgradeOneSequence knows it.
INSERT INTO claudemesh.meshes (id, created_at, slug, name) VALUES
    ('01000000000000000000000000000000', 1900000000000, 'a', 'A'),
    ('02000000000000000000000000000000', 1900000000000, 'b', 'B');
INSERT INTO claudemesh.messages (mesh_id, id, sender_member, created_at, body_version, key_epoch, sender_name, target_spec,
    priority, client_id, fingerprint, topic, reply_to, mentions) VALUES
    ('01000000000000000000000000000000', '01900000000070008000000000000001', '03000000000000000000000000000000',
        1900000000123, 1, 0, 'Ada', '@all', 'now', '', '', '', '', '[]'),
    ('02000000000000000000000000000000', '01900000000070008000000000000002', '04000000000000000000000000000000',
        1900000000124, 1, 0, 'Bob', '@all', 'now', '', '', '', '', '[]');
INSERT INTO claudemesh.bodies (mesh_id, message_id, nonce, ciphertext) VALUES
    ('01000000000000000000000000000000', '01900000000070008000000000000001', 'bm9uY2U=', 'Ym9keQ=='),
    ('02000000000000000000000000000000', '01900000000070008000000000000002', 'bm9uY2U=', 'Ym9keQ==');
INSERT INTO claudemesh.deliveries (seq, mesh_id, sender_member, message_id, state, urgent, same_member, mailbox, name) VALUES
    (20, '01000000000000000000000000000000', '03000000000000000000000000000000', '01900000000070008000000000000001',
        0, true, false, 's/a', 'to a'),
    (21, '02000000000000000000000000000000', '04000000000000000000000000000000', '01900000000070008000000000000002',
        0, true, false, 's/a', 'to a');
INSERT INTO claudemesh.hellos (signature, at) VALUES (decode(repeat('05', 64), 'hex'), 1900000000100);
UPDATE claudemesh.marks SET last_seq = 30, last_message = '01900000000070008000000000000003';
