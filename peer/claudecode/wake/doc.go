// Package wake brings pointers to unread messages into a Claude Code session that
// did nothing to ask for them: as lines of a plugin's monitor, as the end of an
// asyncRewake hook, or (in package mcpserver) as a channel's notification.
//
// All of them hold one stream from the daemon open ([Listener]) and say when it has
// something to say. Who of several is told what is the daemon's decision, and so is
// the text; this package adds nothing and repeats nothing.
//
// A listener outlives its daemon. If the daemon was stopped in good order it waits
// for the next one; if it has crashed, it starts one, because nobody else may
// notice in a session that is idle.
package wake
