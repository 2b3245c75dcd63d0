// Package store keeps the daemon's state in one SQLite file: the sessions and the processes
// that run them, the messages that wait for a broker, the receipts for messages sent, and the
// receipts that senders of received messages have yet to get. Received messages are in package
// inbox.
//
// # Files
//
//	store.go     opens the file
//	schema.go    the schema and its history
//	sessions.go  sessions, processes, successions
//	earlier.go   sessions that a process ran earlier
//	outbox.go    messages to send, and how far they have come
//	receipts.go  receipts from recipients and for senders
//
// This package is for claudemesh itself; outsiders should not rely on it.
package store
