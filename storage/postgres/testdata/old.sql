-- What a broker of any schema version since 1 may have left; storagetest.Upgrade knows it.
INSERT INTO claudemesh.messages (mesh_id, id, sender_member, created_at, body_version, key_epoch, sender_name, target_spec,
    priority, client_id, fingerprint, topic, reply_to, mentions) VALUES
    ('01000000000000000000000000000000', '01900000000070008000000000000001', '02000000000000000000000000000000',
        1900000000123, 1, 0, 'Ada', '@all', 'now', 'intent', 'fp', '', '', '["Zoë"]'),
    ('01000000000000000000000000000000', '01900000000070008000000000000002', '03000000000000000000000000000000',
        1900000000124, 1, 0, 'Bob', 'x', 'next', '', '', '', '', '[]');
INSERT INTO claudemesh.bodies (mesh_id, message_id, nonce, ciphertext) VALUES
    ('01000000000000000000000000000000', '01900000000070008000000000000001', 'bm9uY2U=', 'Ym9keQ==');
INSERT INTO claudemesh.deliveries (seq, mesh_id, message_id, settled_at, state, urgent, same_member, mailbox, name) VALUES
    (10, '01000000000000000000000000000000', '01900000000070008000000000000001', NULL, 0, true, false, 's/a', 'to a'),
    (11, '01000000000000000000000000000000', '01900000000070008000000000000001', 1900000000999, 1, true, true, 's/b', 'to b'),
    (12, '01000000000000000000000000000000', '01900000000070008000000000000002', 1900000000999, 3, false, false, 's/a', 'to a');
UPDATE claudemesh.marks SET last_seq = 7;
INSERT INTO claudemesh.presences (mesh_id, identity, id, member_id, pid, status_at, source, proven, visible, session_key, role,
    session_id, cwd, display_name, hostname, peer_type, channel, model, groups, summary, status) VALUES
    ('01000000000000000000000000000000', 's/a', '04000000000000000000000000000000', '05000000000000000000000000000000', 7,
        1900000000123, 1, true, true, decode(repeat('06', 32), 'hex'), 'member', 'session', '/src', 'Zoë', 'host', 'ai', '', '',
        '[]', 'reading', 'idle');
