// Package tests holds the end-to-end tests. They build the commands and run them like a
// user does, with the repository's Caddyfile, on both databases. They use only the broker's
// public interfaces: its sockets, its routes, its command lines, and the files and tables
// that it writes.
//
// Most tests use a v1 client that is written only from the protocol's description, with raw
// JSON, ed25519 and boxes. It shares no code with the broker, so that a misunderstanding of
// the protocol on one side shows on the other.
//
// Each top-level test starts the brokers that it needs, on free ports of the loopback
// address, with all their files in temporary directories.
package tests
