// Package store is what the daemon keeps on disk, in one SQLite file: the sessions and the
// processes that run them, the messages that wait for a broker, what recipients have said of
// those that were sent, and what senders are still to be told of those that came.
//
//	store.go     opens the file
//	schema.go    the schema and its history
//	sessions.go  sessions, processes, who goes on for whom
//	earlier.go   sessions that a process ran before
//	outbox.go    messages to send, and how far they came
//	receipts.go  what recipients have said, and what senders are to be told
//
// Received messages are in package inbox. This package is the daemon's own.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package store
