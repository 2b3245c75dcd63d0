-- The attestation of a session key: when it expires, in 8 bytes, then the signature. The
-- two keys that it binds are in other columns of the presence and of the message. NULL if
-- there is none. A message needs its attestation as long as its body.
ALTER TABLE bodies ADD COLUMN sender_attestation BLOB CHECK (length(sender_attestation) = 72);
ALTER TABLE presences ADD COLUMN attestation BLOB CHECK (length(attestation) = 72);
ALTER TABLE presences ADD COLUMN status_reason TEXT NOT NULL DEFAULT '';
