-- Until when a member without a key could be given one. No invite makes such members
-- any more.
ALTER TABLE members DROP COLUMN bind_before;
