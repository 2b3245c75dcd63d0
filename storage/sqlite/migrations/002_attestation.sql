-- A member's word for a session key, without the two keys that it binds, which
-- stand elsewhere in the presence and in the message: when it expires in 8 bytes,
-- then the signature. NULL when there is none. That of a message is of use as long
-- as its body is.
ALTER TABLE bodies ADD COLUMN sender_attestation BLOB CHECK (length(sender_attestation) = 72);
ALTER TABLE presences ADD COLUMN attestation BLOB CHECK (length(attestation) = 72);
ALTER TABLE presences ADD COLUMN status_reason TEXT NOT NULL DEFAULT '';
