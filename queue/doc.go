// Package queue accepts messages, delivers them, and keeps them until every
// recipient has acknowledged.
//
// A message is accepted once ([Queue.Accept]) and has one delivery for each
// recipient. A delivery goes two ways at once: to the journal, which commits it
// together with whatever else is waiting, and to the recipient, if it is live
// and nothing older waits for it. The message is safe, and its sender told so,
// when it is committed or when every recipient has acknowledged, whichever comes
// first.
//
// # Mailboxes
//
// A mailbox is the order in which one recipient gets its messages. In memory it
// exists while its recipient is attached or something of it is not yet
// committed. It is in one of two states: up to date, when everything that may be
// pushed has been, so that a new message is pushed at once; or behind, when older
// deliveries are waiting in the store, so that a new one waits its turn there.
// A mailbox falls behind when its recipient attaches, when its window of unacknowledged
// pushes is full, when a lease runs out and when its gate opens; a drain reads
// the store page by page until nothing is left, and then it is up to date again.
// What is neither pushed nor uncommitted is in the store alone, so a slow or
// absent recipient costs no memory.
//
// # Concurrency
//
// All exported methods are safe for concurrent use. Locks are taken in the order
// mailbox, entry; no lock is held while an [Outlet], the [Store] or a sender's
// callback is called, except that Outlet.Push is called under the mailbox lock,
// because that is what keeps the order; it must not block.
package queue
