-- Why a removed member was banned, which somebody can take back; NULL when it was not.
ALTER TABLE claudemesh.members ADD COLUMN ban_reason text;
