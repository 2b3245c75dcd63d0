// Package backup writes and reads backups of a user's whole identity: one file, sealed
// under a passphrase. SPEC.md, section 17, describes the format.
//
// [Collect] gathers what a backup holds, [Seal] makes the file of it; [Open] and
// [Restore] go the other way. A restore replaces no secret key unless it is told to, and
// then keeps the one that was there.
package backup
