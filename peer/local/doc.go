// Package local is how the processes of one machine talk to its daemon: the
// messages, and a client over the daemon's Unix socket.
//
// It is HTTP with JSON bodies, in the manner of other local daemons: a request
// is POST /v1/<verb> with one of this package's structs, the answer another one,
// or an [Error] with a status of 400 and above. Unknown fields are ignored, so
// that programs of different age get along.
//
// There are two kinds of callers. The owner, that is, the command and Claude
// Code's hooks, proves itself with the token of [Info], a file that only this
// user can read. A session's MCP server, monitor and status line hold the
// session's own token ([Ticket]), which reaches nothing but that session: what a
// model does, it does as itself.
package local
