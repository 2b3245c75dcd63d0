// Package postgres keeps everything in a Postgres database, in the schema
// claudemesh: the storage for production.
//
// # Commits
//
// A batch is one pipeline of at most twelve statements, each over arrays of columns,
// in one transaction: one round trip, whatever the size of the batch.
// synchronous_commit is on unless the DSN says otherwise.
//
// # The claim
//
// One broker at a time may use a database. Claim takes an advisory lock on a
// connection that it keeps, and counts up an epoch. Every commit asks in its transaction
// whether that is still the epoch. When the connection is lost, a goroutine of the
// store tries to get the lock back; until somebody else gets it, commits go on. When
// somebody else did, the claim is lost for good: Commit, Sweep and Ping return
// storage.ErrInUse until a new Claim succeeds, since what the broker has in memory
// is out of date then.
//
// # Connections
//
// Each is made with the DSN, the passfile and the certificates as they are then, and has
// its settings made after the connect, so that PgBouncer in session mode may be in
// between. Other modes lend a connection for a transaction, which can't keep the claim's
// lock: they are found out before the first connection is used (storage.ErrUnfit). A
// connection on which a statement failed for a reason that a new one may cure is not
// used again.
//
// # Plans
//
// The statements must run well with the plans that were made when the tables were
// small, so sequential scans are disabled on the store's connections, and lookups of
// many rows are written so that an index is the only other way.
//
// # Invariants
//
// A row of bodies exists exactly as long as its message has a pending delivery.
// Deliveries belong to the mesh of their message. Recipients that had settled when
// their message was stored stand in its row, in settled; the others have a row of
// deliveries each, and keep it. A mesh's row of mesh_marks knows the highest seq and the
// newest message's id of all that was ever stored in it.
package postgres
