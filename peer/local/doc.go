// Package local is the protocol between the daemon and the other processes on its machine:
// the requests and answers, and a client for the daemon's Unix socket.
//
// It is HTTP with JSON bodies: a request is POST /v1/<verb> with one of this package's
// structs. The answer is another struct, or an [Error] with a status of 400 or above. Both
// sides ignore unknown fields, so that different versions work together.
//
// There are two kinds of callers. The owner, that is, the command and Claude Code's hooks,
// uses the token in [Info], a file that only this user can read. The MCP server, monitor and
// status line of a session use the session's own token ([Ticket]), which gives access to that
// session only. So a model can act only as its own session.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package local
