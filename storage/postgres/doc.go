// Package postgres keeps everything in a Postgres database, in the schema
// claudemesh. A broker needs it rather than SQLite if another broker is to stand by on
// another machine.
//
// # Commits
//
// A batch is one pipeline of at most twelve statements, each over arrays of columns,
// in one transaction: one round trip, whatever the size of the batch.
// synchronous_commit is on unless the DSN says otherwise.
//
// # The lease
//
// One broker at a time may use a database. Claim makes a row in the table nodes, with a
// lease of three seconds by the database's clock; a goroutine of the store renews the
// lease every second, on a connection of its own. Every transaction that writes begins
// with require_lease, which shares the advisory lock of the row's id and then checks that
// the row is there and the lease runs.
//
// When a lease has run out, another broker may take over: it takes that lock exclusively,
// so that no transaction of the first broker is under way, looks at the lease again,
// and removes the row. A transaction that goes on for more than a second, since its
// process is frozen in the middle of it, loses its connection.
//
// A broker that can't renew its lease is suspended (storage.ErrSuspended) from the moment
// at which the lease may have run out. It measures that by a clock that goes on while the
// machine sleeps. It goes on when it has renewed the lease. When its row is gone, the
// database is lost: everything that writes returns storage.ErrInUse until a new Claim
// succeeds, since what the broker has in memory is out of date then.
//
// # Versions of the schema
//
// Migrations are applied in one transaction. Each says in its first line the oldest
// version that a broker may know to work with the schema that it makes, if that is not its
// own; the table schema_version keeps it. So a change that older brokers can't work with
// comes in two releases: the first one adds what is new and names an older version, the second
// one removes what is old. A migration waits as long as a broker that can't work with its
// schema has the database. Brokers that know no leases hold a lock instead, which the
// migration that adds leases takes.
//
// # Connections
//
// Each is made with the DSN, the passfile and the certificates as they are then, and has
// its settings made after the connect, so that PgBouncer in session mode may be in
// between. Other modes lend a connection for a transaction, which does not keep settings
// and prepared statements: they are found out before the first connection is used (storage.ErrUnfit). A
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
//
// This package is for claudemesh itself; outsiders should not rely on it.
package postgres
