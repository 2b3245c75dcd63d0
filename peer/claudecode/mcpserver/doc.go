// Package mcpserver is the MCP server of a Claude Code session: a thin layer of tools on top
// of the daemon's calls for sessions.
//
// Claude Code starts the server for each session, over standard input and output. `claude
// mcp list` starts it, too, with a made-up session. So the server registers nothing and
// takes no id from its environment. It acts for the session that, according to the daemon,
// its parent, the claude process, runs. So it also follows /clear, which starts a new
// session but keeps this process.
//
// Texts from peers reach the model only in tool results, framed as data (package frame). All
// tools answer in plain text. An error becomes a tool error that says what to do.
//
// # Files
//
//	server.go        runs the server, from the handshake to the end of claude
//	transport.go     answers the probe for a newer protocol, and writes channel notifications
//	tools.go         the tools: their descriptions, and the calls behind them
//	text.go          what the tools answer to the model
//	instructions.go  what every conversation is told about claudemesh
//	link.go          calls the daemon for the session that claude runs now
//
// This package is for claudemesh itself; outsiders should not rely on it.
package mcpserver
