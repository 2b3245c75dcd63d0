// Package sqlite stores everything in one SQLite database, embedded in the broker's
// process. It is the default storage.
//
// # Files
//
//	store.go       the Store: open, close
//	writer.go      the connection that writes
//	reader.go      those that read
//	migrate.go     the schema and its versions
//	claim.go       which process owns the file
//	backup.go      a copy of the file, while it is in use
//	restore.go     a copy takes the place of the file
//	copy.go        how a database is copied and checked
//	owner_unix.go  who owns the file, on Unix
//	owner_other.go elsewhere
//	health.go      whether it can store; what an error means
//	commit.go      one batch in one transaction
//	bulk.go        many rows in one statement
//	queue.go       messages and mailboxes
//	sweep.go       messages that expire
//	depth.go       how much waits
//	mesh.go        meshes, members, invites
//	redeem.go      an invite is used
//	presence.go    presences and sessions
//	hello.go       hellos against replays
//	audit.go       entries of the audit log
//	auditnotes.go  the key of the audit log, its restores, its pruned part
//
// # Durability
//
// The database is in WAL mode with synchronous=FULL: a commit that has returned survives a
// crash of the machine. A commit that fails, for example on a full disk, stores nothing.
//
// # Concurrency
//
// One connection writes, so writes wait for each other inside this process and never get
// SQLITE_BUSY from each other. A few other connections read at the same time, each from a
// snapshot. A context limits the wait for the writing connection. A transaction that has
// begun runs to its end, because it waits only for the disk.
//
// # Invariants
//
// A row of bodies exists exactly as long as its message has a pending delivery. Deliveries
// belong to the mesh of their message. If a recipient was already settled when its message
// was stored, it is in the column settled of the message's row. Every other recipient has
// its own row in deliveries, and keeps it. A mesh's row in mesh_marks has the highest seq
// and the id of the newest message ever stored in the mesh.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package sqlite
