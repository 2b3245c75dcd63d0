// Package hook turns what Claude Code tells its hooks into what the daemon needs
// to know: which session a claude process runs, whether it works, is idle or waits
// for its user, and when it ends.
//
// A hook runs before and after every tool and every prompt, and Claude Code waits
// for it. So it has one budget of time for all that it does ([Budget]), it ends with
// exit code 0 whatever happens, and when something is wrong it says nothing unless
// asked to (CLAUDEMESH_HOOK_DEBUG=1). What must not be lost although the daemon is
// down, the beginning and the end of a session, is handed to a detached process,
// which may take its time.
//
// What a hook prints can get the standing of the system with the model. Nothing is
// printed but the daemon's pointer to unread messages, which holds no words of
// peers.
//
// Events of subagents are ignored: they say nothing about the session.
package hook
