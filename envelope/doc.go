// Package envelope encrypts and decrypts the messages between peers, end to end: the
// broker and everybody else between the peers can't read them.
//
//	for one recipient   SealDirect, OpenDirect        crypto_box_easy
//	for the whole mesh  SealMesh, OpenMesh            crypto_secretbox_easy
//	for an invite link  LinkSecret                    HKDF-SHA256, crypto_secretbox_easy
//
// The functions are compatible with those of libsodium on the right. They convert
// ed25519 keys to x25519 like libsodium. So v1 clients open what this package seals,
// and this package opens what v1 clients seal. Nonces have 24 bytes; all are random,
// or 16 of them in a direct message. Text on the wire is standard base64 with padding,
// text in links and files is base64url without padding. Only canonical encodings are
// accepted.
//
// The Open functions return ErrBadNonce, ErrBadEncoding or ErrBadKey for malformed
// input, and ErrOpen for input that was sealed for another key or changed. They never
// return plaintext together with an error, and no error quotes the plaintext.
//
// What a seal proves:
//
//   - A direct message was sealed with one of the two keys: by the sender or by the
//     recipient itself, a property of crypto_box. OpenDirect refuses a message that
//     the recipient sealed with this package (ErrReflected). So if the recipient seals
//     only with this package, the sender sealed the message.
//   - A mesh message was sealed by somebody who has the mesh key.
//
// No seal proves that a message isn't a replay of an earlier one; the receiver of the
// messages has to detect that.
//
// MeshKey, LinkSecret and InvitePayload never show their secrets when they are printed,
// logged or marshalled. All values are immutable, and everything is safe for concurrent
// use.
//
// # Files
//
//	direct.go     for one recipient
//	meshkey.go    for the whole mesh
//	invite.go     the secret of an invite link, and what it opens
//	secret.go     secrets that never show when they are printed
//	convert.go    ed25519 keys as x25519 keys
//	encoding.go   base64 on the wire and in links
//	errors.go     the errors
//
// Outsiders may rely on this package: what it exports changes only with a new major
// version.
package envelope
