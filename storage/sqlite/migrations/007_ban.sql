-- Why a removed member was banned, which somebody can take back; NULL when it was not.
ALTER TABLE members ADD COLUMN ban_reason TEXT;
