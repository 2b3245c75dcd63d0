// Package plugin writes the plugin by which claudemesh enters Claude Code: its hooks,
// its MCP server and its monitor, in a directory that is also a plugin marketplace.
//
// Claude Code loads a plugin of a local marketplace from that directory itself, so
// what is written here takes effect at the next start of a session, without another
// installation. The files name the claudemesh program by its absolute path.
package plugin
