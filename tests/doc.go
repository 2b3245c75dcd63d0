// Package tests holds the end-to-end tests. They build the two commands and run
// them as a user would, with the Caddyfile of the repository, on both databases,
// and talk to the broker only through what it offers to everybody: its sockets,
// its routes, its command lines, and what it leaves in files and tables.
//
// The client of protocol v1 that most tests use is written from the protocol
// alone: raw JSON, ed25519 and boxes. It shares no code with the broker, so that
// a misreading of the protocol in one is no misreading in the other.
//
// Each top-level test starts the brokers that it needs, on free ports of the
// loopback address and with everything they write in temporary directories.
package tests
