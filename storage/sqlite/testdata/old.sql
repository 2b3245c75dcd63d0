-- What a broker of any schema version since 1 may have left; storagetest.Upgrade knows it.
INSERT INTO messages (no, mesh_id, id, sender_member, created_at, body_version, key_epoch, sender_name, target_spec,
    priority, client_id, fingerprint, topic, reply_to, mentions) VALUES
    (1, x'01000000000000000000000000000000', x'01900000000070008000000000000001', x'02000000000000000000000000000000',
        1900000000123, 1, 0, 'Ada', '@all', 'now', 'intent', 'fp', '', '', '["Zoë"]'),
    (2, x'01000000000000000000000000000000', x'01900000000070008000000000000002', x'03000000000000000000000000000000',
        1900000000124, 1, 0, 'Bob', 'x', 'next', '', '', '', '', '[]');
INSERT INTO bodies (message, nonce, ciphertext) VALUES (1, 'bm9uY2U=', 'Ym9keQ==');
INSERT INTO deliveries (seq, mesh_id, message, settled_at, state, urgent, same_member, mailbox, name) VALUES
    (10, x'01000000000000000000000000000000', 1, NULL, 0, 1, 0, 's/a', 'to a'),
    (11, x'01000000000000000000000000000000', 1, 1900000000999, 1, 1, 1, 's/b', 'to b'),
    (12, x'01000000000000000000000000000000', 2, 1900000000999, 3, 0, 0, 's/a', 'to a');
UPDATE marks SET last_seq = 7;
INSERT INTO presences (mesh_id, identity, id, member_id, pid, status_at, source, proven, visible, session_key, role,
    session_id, cwd, display_name, hostname, peer_type, channel, model, groups, summary, status) VALUES
    (x'01000000000000000000000000000000', 's/a', x'04000000000000000000000000000000', x'05000000000000000000000000000000', 7,
        1900000000123, 1, 1, 1, x'0606060606060606060606060606060606060606060606060606060606060606', 'member', 'session',
        '/src', 'Zoë', 'host', 'ai', '', '', '[]', 'reading', 'idle');
