// Package postgres stores everything in a Postgres database, in the schema claudemesh. A
// broker needs Postgres instead of SQLite if brokers on several machines share the database:
// as the nodes of a cluster, or with one that stands by for another.
//
// # Files
//
//	store.go       the Store: open, close
//	connect.go     one connection: its settings, its DSN; what an error means
//	migrate.go     the schema and its versions
//	lease.go       which broker owns the database
//	takeover.go    how another broker takes it over
//	pulse.go       which brokers renew their leases
//	candidates.go  which brokers wait for it
//	owners.go      which node of a cluster owns which mesh
//	watch.go       nodes hear of changes
//	clock.go       whether a node's clock is right
//	health.go      whether it can store
//	commit.go      one batch in one transaction
//	transaction.go a program fills the database
//	operate.go     what an operator asks nodes to do
//	array.go       columns as arrays
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
// # Commits
//
// A commit writes a batch in one transaction, as one pipeline of at most twelve statements
// over arrays of columns. It takes one round trip, whatever the size of the batch.
// synchronous_commit is on unless the DSN says otherwise.
//
// # The lease
//
// One broker at a time may use a database. Claim inserts a row in the table nodes, with a
// lease of three seconds by the database's clock. A goroutine of the store renews the lease
// every second, on its own connection. Every transaction that writes begins with
// require_lease. This function takes a shared advisory lock on the row's id and then checks
// that the row exists and its lease has not run out.
//
// When a lease has run out, another broker may take over. It takes the same lock
// exclusively, so that no transaction of the first broker is running, checks the lease
// again, and removes the row. If a transaction holds the lock for more than a second,
// because its process is frozen, the server closes its connection.
//
// The database's clock may be set, or a failover may lead to a server with another clock. If the
// clock is set back, the lease of a broker that has just died seems to run for a long time. So a
// broker that waits for the end of a lease also counts the renewals of it: if there are none for
// five seconds of its own clock, it takes over all the same. Programs that know only schemas
// before version 10 do not count renewals, so their leases run to the end.
//
// A broker that can't renew its lease is suspended (storage.ErrSuspended) from the earliest
// moment at which the lease may run out. It measures that by a clock that advances while
// the machine sleeps. The suspension ends when the broker renews the lease. When its row is
// gone, the broker has lost the database. Then every write returns storage.ErrInUse until
// another Claim succeeds, because the broker's memory is out of date. The row counts its
// renewals. If it has fewer than the broker knows of, the database was set back, by a backup
// for example (storage.ErrSetBack). The broker has lost it then, too.
//
// A broker that waits for the database, for its address, or for an older broker before a
// migration has a row in the table candidates, so that operators see it; nothing else depends
// on it. Claim and Migrate write the row, at most every three seconds. It counts for ten
// seconds by the database's clock.
//
// # Clusters
//
// A store for which Cluster was called is a node: several nodes have leases at the same
// time. The table mesh_owners says which node owns which mesh, and a node's rows in it go
// with the node. A node's transactions begin with require_meshes instead, which also checks
// that the node owns every mesh that it writes to; if not, nothing is stored, and the error
// is a *journal.LostError. Release takes the lock of its own node exclusively, so nothing
// is written to a mesh after it was given up. Every node looks for nodes without a lease
// and removes them in the same way as a broker that takes over. A node whose own lease had run
// out, or that joins and finds other nodes without a lease, spares them for some seconds, because
// an outage of the database ends all leases, and so does a database whose clock is set forward.
//
// The owner of a mesh alone settles its deliveries. What has ended may be deleted by any
// node, one at a time.
//
// The connection that renews the lease also listens for notifications of changes of nodes
// and owners. Notifications may be lost, so Watch also reports once a second.
//
// # Versions of the schema
//
// All pending migrations are applied in one transaction. The first line of a migration may
// name an older version: brokers that know that version, or a later one, can work with the
// new schema. Without it, a broker must know the migration's own version. The table
// schema_version records this. A change that older brokers can't work with therefore takes
// two releases: the first one adds the new parts and names an older version, and the second
// one removes the old parts. A migration waits while the database belongs to a broker that
// can't work with the new schema. Brokers from before the leases hold an advisory lock
// instead, and the migration that adds the leases takes that lock.
//
// # Connections
//
// The store makes each connection with the current DSN, passfile and certificates. It makes
// the settings after connecting, so PgBouncer in session mode may be in between. In other
// modes PgBouncer lends a connection for one transaction, which loses settings and prepared
// statements; the store detects this before it uses its first connection
// (storage.ErrUnfit). If a statement fails for a reason that a new connection may cure, the
// store does not use the connection again.
//
// # Plans
//
// The statements must run well with plans that Postgres made when the tables were small.
// Sequential scans are therefore disabled on the store's connections, and lookups of many
// rows are written so that an index is the only alternative.
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
package postgres
