// Package wake brings pointers to unread messages into a Claude Code session that is idle: as
// lines of a plugin's monitor, as the end of an asyncRewake hook, or (in package mcpserver)
// as notifications of a channel.
//
// Each of them keeps one stream from the daemon open ([Listener]) and passes on the pointers
// that arrive. The daemon decides which of several listeners gets a pointer, and writes the
// text. This package adds and repeats nothing.
//
// A listener outlives the daemon. If the daemon was stopped, the listener waits for the next
// one. If the daemon has crashed, the listener starts it again, because in an idle session
// nothing else may notice.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package wake
