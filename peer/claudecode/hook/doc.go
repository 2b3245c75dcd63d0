// Package hook translates the events that Claude Code sends to its hooks for the daemon:
// which session a claude process runs, whether the session works, is idle or waits for its
// user, and when it ends.
//
// A hook runs before and after every tool and every prompt, and Claude Code waits for it.
// So a hook has a time limit for all its work (40 ms) and always exits with 0. It logs
// errors only with CLAUDEMESH_HOOK_DEBUG=1. The start and the end of a session must not be
// lost if the daemon is down; the hook hands those events to a detached process, which has
// no such time limit.
//
// The model may trust the output of a hook as much as it trusts the system. So a hook prints
// only the daemon's pointer to unread messages, which contains no text from peers.
//
// The hook ignores the events of subagents: they say nothing about the session.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package hook
