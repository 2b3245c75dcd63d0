-- The column said until when a member without a key could get one. Invites no longer make
-- such members.
ALTER TABLE members DROP COLUMN bind_before;
