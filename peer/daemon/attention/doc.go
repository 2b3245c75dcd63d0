// Package attention decides when a session of Claude Code is told of unread
// messages, on which path, and in which words.
//
// Each session has a [Desk]. Messages arrive at it and leave it when the model
// has fetched them; in between the session is told of them once, by a pointer: a
// line such as
//
//	2 unread mesh messages from bob and carol: read them with check_messages
//
// which never holds what a peer wrote, but for names that can't say much. It is
// put where the model may take it for the system's word.
//
// # Who is told when
//
// A pointer goes to the best path that is attached: a monitor, else a channel,
// else a waiter. Where there is none, the next hook takes it into the context. A
// path that fails to write gives the pointer back, for the next one. A path that has
// written into an idle session, which then neither begins a turn nor reads, is in doubt:
// it gives way to the next one for a while.
//
// Messages that come together share a pointer: it waits for 250 ms without a
// further one, and for 1 s at most. It tells of everything that is unread, so
// with it all of that has been announced, and no message causes a second pointer
// but when a context begins, which is told of all that is unread, when a turn has ended
// in which it was not read, and when the user writes a prompt ([Desk.Retell]).
//
// Whether a message may cause a pointer is another question. Under dnd only
// those of priority now do, the others when dnd ends. A member has a budget of
// pointers; what goes beyond it stays silent until a human writes a prompt.
// [Desk.AllowSend] is the same for the other direction: two models can't go on
// talking to each other without their users.
//
// # Concurrency
//
// A Desk does no I/O, has no goroutines and keeps nothing on disk: budgets start
// afresh with the process. All methods are safe for concurrent use and none but
// [Subscription.Next] blocks. Time is package time's.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package attention
