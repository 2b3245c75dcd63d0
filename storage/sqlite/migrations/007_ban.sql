-- The reason of a ban, which can be taken back. NULL: the member is not banned.
ALTER TABLE members ADD COLUMN ban_reason TEXT;
