// Package disk holds what claudemesh's databases and files have in common: [Open] opens an
// SQLite database and brings its schema up to date, [Writable] and [Unwritable] say in words
// what keeps claudemesh from writing to its directory.
//
// It is for claudemesh itself; outsiders should not rely on it.
package disk
