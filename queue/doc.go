// Package queue accepts messages, delivers them, and keeps them until every
// recipient has acknowledged.
//
// A message is accepted once ([Mesh.Accept]) and has one delivery for each
// recipient. The queue gives a delivery to the journal, which commits it in the next
// batch, and pushes it at once to a recipient that is connected and has nothing older
// waiting. The message is safe as soon as it is committed or every recipient has
// acknowledged it, whichever comes first; then its sender is told.
//
// # Meshes
//
// A [Mesh] numbers its own deliveries and makes its own message ids. It goes on where the
// store ends when it is loaded, so it can be forgotten here and loaded elsewhere.
//
// # Mailboxes
//
// A mailbox is the order in which one recipient gets its messages. In memory it
// exists while its recipient is attached, or while one of its deliveries or
// acknowledgements is not yet committed. It goes from state to state like this:
//
//	       attach          drain begins          nothing left
//	away ─────────► behind ────────────► reading ────────────► upToDate
//	                ▲    ▲                  │                      │
//	                │    └── no room, or ───┘                      │
//	                │        commit awaited                        │
//	                └── no room, lease expired, gate opened ───────┘
//
//	behind, upToDate ── detach ──► away ── nothing under way ──► dropped
//	reading ── detach ──► abandoned ── drain notices ──► away
//	                      abandoned ── attach ──► reading
//
// What the states mean:
//
//   - away: nobody is attached. New deliveries wait in the store.
//   - behind: older deliveries wait in the store, and new ones wait their turn there.
//     Nothing reads them until there is room in the window, or until a message that comes
//     before them is committed.
//   - reading: a drain reads them, page by page.
//   - upToDate: everything that may be pushed has been, so a new message is pushed
//     at once.
//   - abandoned: nobody is attached any more, and the drain has not noticed yet.
//   - dropped: the mailbox is no longer in memory.
//
// The cursor of a mailbox that is behind says up to where the store has been dealt with;
// the page that a drain reads notes what comes into the store meanwhile. Deliveries
// that are committed and not pushed are in the store only, so a slow or absent recipient
// costs no memory.
//
// # Concurrency
//
// All exported methods are safe for concurrent use. Locks are taken in the order
// mailbox, entry; the [Store] and a sender's callback are called without a lock.
// The methods of an [Outlet] are called under the mailbox lock, which keeps the order; they
// must not block.
//
// # Files
//
//	queue.go    the Queue: mailboxes by address
//	mesh.go     the Mesh: accepting
//	entry.go    an accepted message on its way into the store
//	mailbox.go  what happens to a mailbox
//	state.go    its states
//	window.go   what is pushed and not acknowledged, and when it is pushed again; what is
//	            acknowledged and not stored
//	drain.go    reading what waits in the store
//	history.go  one intent is one message
//	usage.go    how much may wait in a mesh
//	trace.go    who follows a message
//	status.go   how far a message came, and counters
//	store.go    what is stored
//
// This package is for claudemesh itself; outsiders should not rely on it.
package queue
