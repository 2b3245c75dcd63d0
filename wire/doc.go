// Package wire is protocol v1 as Go types: the JSON messages between a peer and
// the broker, their error and close codes, the limits, and the strings that get
// signed. SPEC.md is its prose.
//
// A connection is a WebSocket that carries one JSON object per message. The
// receiver calls [ParseFrame] once; it walks the text a single time, checks that
// it is JSON, and remembers where each field stands. The Decode functions then
// take the fields of one message type from there, strictly: a field of the wrong
// type is a [*FieldError]. Unknown fields are ignored.
//
// Sending goes through the Append methods for the messages that are frequent
// (push, ack) and through encoding/json for the rest.
package wire
