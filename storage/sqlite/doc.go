// Package sqlite keeps everything in one SQLite database, embedded in the
// broker's process: the default storage.
//
// # Durability
//
// The database is in WAL mode with synchronous=FULL: a commit that has returned
// survives a crash of the machine. A commit that fails, on a full disk for
// example, has stored nothing.
//
// # Concurrency
//
// There is one writing connection, so writes wait for each other in this process
// and never meet SQLITE_BUSY from a sibling; a few others read beside it, each a
// snapshot. A context bounds the wait for the writing connection; a transaction
// that has begun runs to its end, since it waits for nobody but the disk.
//
// # Invariants
//
// A row of bodies exists exactly as long as its message has a pending delivery.
// Deliveries belong to the mesh of their message. Recipients that had settled when
// their message was stored stand in its row, in settled; the others have a row of
// deliveries each, and keep it. A mesh's row of mesh_marks knows the highest seq and the
// newest message's id of all that was ever stored in it.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package sqlite
