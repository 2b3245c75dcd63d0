// Package identity holds the ed25519 keys that members and sessions are known
// by, and everything that is proven with them: signatures, hellos and the
// attestations with which a member vouches for a session.
//
// Signatures are accepted exactly when libsodium's crypto_sign_verify_detached
// accepts them. Each way in which a proof can fail has its own sentinel, so
// that a caller can answer with the right error code; the checks run in the
// order that protocol v1 fixes, which is expiry and skew before the signature.
//
// But for SessionStore, no function reads the clock. Verifiers take the moment to
// judge by, and a proof must be judged and remembered (ReplayGuard) by the same
// moment.
//
// A SessionStore keeps the key pairs of sessions on disk. A session has one key
// pair, whichever and however many processes ask for it at once: a file of a key
// comes into being as a whole, is never overwritten, and is moved away only under a
// lock and only when it holds no key.
//
// A KeyPair never shows its secret when it is printed, logged or marshalled;
// SecretHex and Seed are the only ways to it. All values but ReplayGuard and
// SessionStore are immutable, and everything here is safe for concurrent use.
package identity
