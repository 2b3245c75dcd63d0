// Package disk contains the code that claudemesh's databases and files share. [Open] opens
// an SQLite database and upgrades its schema. [Writable] and [Unwritable] explain why
// claudemesh can't write to its directory.
//
// It is for claudemesh itself; outsiders should not rely on it.
package disk
