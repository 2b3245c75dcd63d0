// Package wire defines protocol v1 as Go types: the JSON messages between a peer
// and the broker, their error and close codes, the limits, and the texts that get
// signed. SPEC.md describes the protocol in prose.
//
// A connection is a WebSocket that carries one JSON object per message. The
// receiver calls [ParseFrame] once per message: it checks the JSON in a single
// pass and records the position of each field. A Decode function then reads the
// fields of one message type. It is strict: a field of the wrong type gives a
// [*FieldError]. Decode functions ignore unknown fields.
//
// The Append methods encode the frequent messages (push, ack, peers_list);
// encoding/json encodes the rest.
//
// # Files
//
//	frame.go        checks the JSON of a frame and finds its fields
//	id.go           the broker's ids: makes and parses them
//	key.go          public keys: parses and prints them
//	names.go        checks names and groups, and cleans names of v1 clients
//	slug.go         checks mesh slugs
//	status.go       statuses, priorities and times
//	signing.go      makes the texts that get signed
//	attestation.go  attestations as JSON, and in short form for a roster
//	client.go       hello, session_hello, and what else a client sends
//	send.go         parses a send and its targets
//	life.go         answers to questions of v1 clients about things that this broker doesn't keep
//	roster.go       writes the roster and its differences
//	push.go         writes a push, and names copies
//	server.go       hello_ack, ack, error and other answers of the broker
//	received.go     parses what the broker sends, for clients
//	admin.go        invites, members and roles
//	moderation.go   kick, disconnect, ban
//	errors.go       codes, close codes and ack words; says which are final
//	http.go         bodies of the HTTP routes
//
// Outsiders may rely on this package: what it exports changes only with a new major
// version.
package wire
