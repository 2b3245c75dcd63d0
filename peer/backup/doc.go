// Package backup writes and reads backups of a user's whole identity: one file, sealed
// under a passphrase. docs/client.md describes the format.
//
// [Collect] gathers the contents and [Seal] makes the file; [Open] and [Restore] do the
// reverse. Restore replaces a secret key only if it is told to, and then keeps the old key.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package backup
