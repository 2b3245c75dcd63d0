// Package broker is one broker: it wires presence, queue, audit and mesh
// together behind connections of protocol v1. It knows neither SQL nor Caddy.
//
// This package is for claudemesh itself; outsiders should not rely on it.
//
// # Files
//
//	broker.go         the Broker: start, stop
//	settings.go       what an operator can set
//	storage.go        what it needs of a storage
//	upgrade.go        from an HTTP request to a connection
//	relay.go          sockets that another node serves, and those of other nodes
//	conn.go           one connection's life: its reader
//	socket.go         what lies below its WebSocket
//	outbox.go         its write side
//	acks.go           acks in the order of sends
//	park.go           sends that wait for room in the journal; each is refused after 5 s
//	handshake.go      hello and session_hello
//	checkpoints.go    signed checkpoints of the audit log for a hello
//	checks.go         how many signatures are checked at a time
//	succession.go     the sessions that a new one succeeds
//	load.go           a mesh is loaded into memory, and forgotten
//	cluster.go        meshes come to this node of a cluster, and are handed over to others
//	departure.go      what happens when meshes leave this node
//	room.go           one mesh in memory: who is here, on which connection; what is left of a lost one
//	announce.go       what a room tells its peers of arrivals, departures and changes
//	news.go           queues system pushes, and merges them for slow readers
//	mailboxes.go      which connection serves which mailboxes
//	dispatch.go       calls the function that serves a frame
//	send.go           checks a send, then accepts it, lets it wait, or refuses it
//	recipients.go     who gets a message
//	nobody.go         says why a message to a group has no recipient
//	copies.go         copies for peers that can't open a message to many
//	clientack.go      what a recipient acknowledges
//	messagestatus.go  how far a message came
//	peers.go          roster, status and groups
//	questions.go      questions of v1 clients that have an empty answer
//	account.go        what one member may cost the others
//	prices.go         what each frame costs
//	limits.go         rate limits
//	manage.go         invites, members, grants and the audit log
//	moderate.go       kick, disconnect, ban
//	operator.go       what the operator of the process sees of meshes, and kicks for the operator
//	hook.go           status over HTTP
//	http.go           joining over HTTP
//	health.go         whether a message could be stored now
//	suspend.go        what happens while the lease of the storage has run out
//	sweep.go          what happens by time alone
//	tracing.go        spans of the messages that are sampled
//	prune.go          deletes audit entries that are too old
//	storm.go          giving memory back after many arrivals
//	depth.go          what waits in all queues
//	stats.go          counters
//
// # Concurrency
//
// A connection has one reader goroutine, which owns its life and waits for the others that
// serve it; it writes through an outbox, whose goroutine exists only while there is
// something to write. The broker waits for its connections and for all else that it
// starts, see Broker.life.
//
// A mesh has one lock, room.mu; no I/O happens under it. Locks are taken in the
// order room, mailbox (package queue), outbox. A function whose name ends in Locked must
// be called with the lock held: that of its receiver, or of a connection's room.
package broker
