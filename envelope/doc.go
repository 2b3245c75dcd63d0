// Package envelope seals what peers say to each other so that nobody between
// them can read it, the broker least of all, and opens it again.
//
//	for one recipient   SealDirect, OpenDirect        crypto_box_easy
//	for the whole mesh  SealMesh, OpenMesh            crypto_secretbox_easy
//	for an x25519 key   SealAnonymous, OpenAnonymous  crypto_box_seal
//	for an invite link  LinkSecret                    HKDF-SHA256, crypto_secretbox_easy
//
// All of it is what libsodium does under the names on the right, with ed25519
// keys converted to x25519 as libsodium converts them, so clients of protocol
// v1 open what is sealed here and the other way round. Nonces are 24 bytes, all
// random, or for direct messages 16 of them. What goes on the wire is standard base64 with padding, what goes in
// links and files base64url without; only the canonical encoding is read.
//
// Opening fails with ErrBadNonce, ErrBadEncoding or ErrBadKey when the input is
// not what it should be, and with ErrOpen when it is but was sealed for another
// key or was changed; ErrReflected is told of below. It never returns plaintext
// together with an error, and no error tells anything of what was sealed.
//
// What a seal proves: a direct message was sealed by one of the two keys, so by
// the sender or by the recipient itself, as crypto_box has it. What this package
// sealed for another does not open as that other's (ErrReflected), so for a
// recipient that seals with this package only, it was the sender. A mesh message
// was sealed by somebody who has the mesh key. An anonymous one proves nothing
// of its sender. None of them proves that it is not a repetition of an earlier
// one; that is for the receiver of messages to see.
//
// MeshKey, LinkSecret and InvitePayload never show their secrets when they are
// printed, logged or marshalled. All values are immutable and everything here
// is safe for concurrent use.
package envelope
