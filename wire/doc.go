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
package wire
