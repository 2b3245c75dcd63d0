-- The reason of a ban, which can be taken back. NULL: the member is not banned.
ALTER TABLE claudemesh.members ADD COLUMN ban_reason text;
