// Package relay is the broker without all that makes it one: a server that passes
// frames of protocol v1 between WebSockets and does nothing else. It is what a broker
// in the same Caddy could reach if routing, checking and storing cost nothing.
//
// For each message it reads and writes the same frames, of the same sizes: a send in, a
// push and an ack out, a client_ack in. The frames are found by their first bytes and
// changed in place; nothing is parsed, and nobody is checked.
package relay
