// Package plugin writes the Claude Code plugin of claudemesh: its hooks, its MCP server and
// its monitor, in a directory that is also a plugin marketplace.
//
// Claude Code loads a plugin of a local marketplace directly from that directory. So changes
// take effect when the next session starts, without another installation. The files contain
// the absolute path of the claudemesh program.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package plugin
