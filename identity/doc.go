// Package identity implements the ed25519 keys that identify members and sessions,
// and everything that they prove: signatures, hellos and the attestations with which
// a member vouches for a session.
//
// It accepts a signature if, and only if, libsodium's crypto_sign_verify_detached
// accepts it. Each way in which a proof can fail has its own sentinel error, so that
// a caller can answer with the right error code. The checks run in the order of
// protocol v1: expiry and skew before the signature.
//
// Except for SessionStore, nothing here reads the clock. Verifiers take the current
// time as an argument; callers must verify a proof and record it (ReplayGuard) with
// the same time.
//
// A SessionStore keeps the key pairs of sessions on disk. A session has one key
// pair, no matter how many processes ask for it at once: the store creates a key
// file atomically, never overwrites it, and moves it away only under a lock and only
// if it holds no key.
//
// A KeyPair never shows its secret when it is printed, logged or marshalled; only
// SecretHex and Seed return it. All values except ReplayGuard and SessionStore are
// immutable, and everything is safe for concurrent use.
package identity
