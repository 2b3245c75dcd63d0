// Package attention decides when a Claude Code session learns about unread
// messages, on which path, and in which words.
//
// Each session has a [Desk]. Messages arrive at it and leave it once the model
// has fetched them. In between, a pointer announces them once. A pointer is a line
// such as
//
//	2 unread mesh messages from bob and carol: read them with check_messages
//
// A pointer contains nothing that a peer wrote, except harmless names: it appears
// where the model may take it for a statement of the system.
//
// # Paths and times
//
// A pointer takes the best attached path: a monitor, else a channel, else a waiter.
// If none is attached, the next hook adds it to the context. If a path fails to
// write, the pointer goes to the next one. If a path writes into an idle session that
// then neither starts a turn nor reads, the path is in doubt, and the Desk uses the
// next one for a while.
//
// Messages that come together share a pointer. It goes out after 250 ms without a
// further message, and after 1 s at the latest. It announces all unread messages. A
// message causes a second pointer only in three cases: a new context starts, a turn
// ends without reading it, or the user writes a prompt ([Desk.Retell]).
//
// Not every message may cause a pointer. During dnd only messages of priority now
// do; the others wait until dnd ends. Each member has a budget of pointers. Messages
// beyond it stay silent until the user writes a prompt. [Desk.AllowSend] limits the
// other direction, so that two models can't talk to each other endlessly without
// their users.
//
// # Files
//
//	desk.go          the Desk: which messages it announces, and when
//	budget.go        how many pointers a member may cause, and how many messages it may get
//	subscription.go  the attached paths
//	offer.go         a pointer on its way to a path or a hook
//	pointer.go       the text of a pointer
//	reaction.go      whether a pointer has reached the session
//
// # Concurrency
//
// A Desk does no I/O, has no goroutines and keeps nothing on disk: budgets are
// full again after a restart. Close stops its timers. All methods are safe for
// concurrent use, and only [Subscription.Next] blocks. The clock is that of package
// time.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package attention
