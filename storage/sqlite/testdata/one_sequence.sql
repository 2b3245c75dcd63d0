-- What a broker may have left that counted the deliveries of all meshes together;
-- storagetest.UpgradeOneSequence knows it.
INSERT INTO meshes (id, created_at, slug, name) VALUES
    (x'01000000000000000000000000000000', 1900000000000, 'a', 'A'),
    (x'02000000000000000000000000000000', 1900000000000, 'b', 'B');
INSERT INTO messages (no, mesh_id, id, sender_member, created_at, body_version, key_epoch, sender_name, target_spec,
    priority, client_id, fingerprint, topic, reply_to, mentions) VALUES
    (1, x'01000000000000000000000000000000', x'01900000000070008000000000000001', x'03000000000000000000000000000000',
        1900000000123, 1, 0, 'Ada', '@all', 'now', '', '', '', '', '[]'),
    (2, x'02000000000000000000000000000000', x'01900000000070008000000000000002', x'04000000000000000000000000000000',
        1900000000124, 1, 0, 'Bob', '@all', 'now', '', '', '', '', '[]');
INSERT INTO bodies (message, nonce, ciphertext) VALUES (1, 'bm9uY2U=', 'Ym9keQ=='), (2, 'bm9uY2U=', 'Ym9keQ==');
INSERT INTO deliveries (seq, mesh_id, message, state, urgent, same_member, mailbox, name) VALUES
    (20, x'01000000000000000000000000000000', 1, 0, 1, 0, 's/a', 'to a'),
    (21, x'02000000000000000000000000000000', 2, 0, 1, 0, 's/a', 'to a');
INSERT INTO hellos (signature, at) VALUES
    (x'05050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505050505', 1900000000100);
UPDATE marks SET last_seq = 30, last_message = x'01900000000070008000000000000003';
