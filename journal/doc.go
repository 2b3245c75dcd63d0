// Package journal writes what the broker decides to the storage, by group commit: one
// transaction holds the messages, acknowledgements, presences and audit entries that have
// come together while the previous one was under way.
//
// One goroutine, [Journal.Run], commits. Everything else only adds to what is pending,
// under one lock, Journal.mu, which also guards the types pending, line, budget and share.
//
// # Files
//
//	journal.go  the Journal: takes what is to be stored, and runs
//	pending.go  what waits for the next batches, and who waits for them
//	budget.go   decides how much may wait for the storage, and shares it among the members
//	commit.go   forms a batch, commits it and tells everybody who waits for it
//	store.go    what a batch holds, and what the journal needs of a storage
//	lost.go     gives up what belongs to meshes that the broker has lost
//	stats.go    counters
//
// This package is for claudemesh itself; outsiders should not rely on it.
package journal
