// Package mcpserver is the MCP server that a Claude Code session speaks to its mesh
// with: a thin layer of tools over the daemon's session calls.
//
// Claude Code starts it with each session, over standard input and output. Being
// started means nothing: `claude mcp list` starts it too, with a made-up session.
// So it registers nothing and takes no id from its environment; it acts for
// whatever session the daemon knows its parent, the claude process, to run. That
// also follows /clear, over which this process lives on.
//
// Peers' words reach the model only as results of tools, framed as data (package
// frame). All tools answer in plain text; what went wrong is a tool's error, in
// words that say what to do.
package mcpserver
