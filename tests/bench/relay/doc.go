// Package relay is a server that only forwards v1 frames between WebSockets. It shows the
// throughput that a broker in the same Caddy could reach if routing, checking and storing cost
// nothing.
//
// For each message it reads and writes the same frames as the broker, of the same sizes: it reads
// a send and a client_ack, and writes a push and an ack. It recognizes frames by their first bytes
// and overwrites them in place. It parses nothing and checks nobody.
package relay
