// Package broker is one broker: it wires presence, queue, audit and mesh
// together behind connections of protocol v1. It knows neither SQL nor Caddy.
//
// # Files
//
//	broker.go     the Broker: start, stop, settings
//	upgrade.go    from an HTTP request to a connection
//	conn.go       one connection's life: its reader
//	socket.go     what lies below its WebSocket
//	outbox.go     its write side
//	acks.go       acks in the order of sends
//	park.go       sends that wait for room before the storage
//	handshake.go  hello and session_hello
//	checks.go     how many signatures are checked at a time
//	succession.go which sessions a session_hello goes on in the place of
//	load.go       a mesh comes into memory, and goes
//	room.go       one mesh in memory: who is here, on which connection
//	mailboxes.go  which connection serves which mailboxes
//	dispatch.go   which message is served where
//	send.go       routing a message
//	nobody.go     why a message to many has no recipient
//	peers.go      roster, status and groups
//	account.go    what a member may cost the others
//	prices.go     what each frame costs
//	manage.go     invites, members, grants and the audit log
//	hook.go       status over HTTP
//	http.go       joining over HTTP
//	health.go     whether messages could be stored now
//	sweep.go      what happens by time alone
//
// # Concurrency
//
// A connection has one reader goroutine, which owns its life; it writes through
// an outbox, whose goroutine exists only while there is something to write. A
// mesh has one lock, room.mu; no I/O happens under it. Locks are taken in the
// order room, mailbox (package queue), outbox.
package broker
