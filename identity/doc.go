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
// the same time, or the guard may forget a hello that is still fresh enough to pass.
//
// A SessionStore keeps the key pairs of sessions on disk. A session has one key
// pair, no matter how many processes ask for it at once: the store creates a key
// file atomically, never overwrites it, and moves it away only under a lock and only
// if it holds no key.
//
// A KeyPair never shows its secret when it is printed, logged or marshalled; only
// SecretHex and Seed return it. All values except ReplayGuard and SessionStore are
// immutable, and everything is safe for concurrent use.
//
// # Files
//
//	keypair.go      makes and parses keys, and signs
//	verify.go       verifies a signature as libsodium does
//	hello.go        signs and verifies the hellos
//	attestation.go  a member vouches for a session
//	succession.go   an older session names the one that succeeds it
//	replay.go       refuses a hello that was seen before
//	safety.go       safety numbers, which people compare
//	sessions.go     the SessionStore: finds or makes the key of a session
//	sessiondir.go   reads and creates the key files of one mesh
//	sessionfile.go  encodes and parses a key file
//	sessionlist.go  lists, touches and removes keys
//	sessionlock.go  locks a directory and repairs its modes
//	sessionput.go   puts a key that exists into the store
//
// Outsiders may rely on this package: what it exports changes only with a new major
// version.
package identity
