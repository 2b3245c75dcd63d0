// Package presence knows which sessions are here, and their status.
//
// A [Room] holds the live presences of one mesh in memory: those with a
// connection (online) and those whose connection was lost a moment ago (leased).
// It decides what an arriving connection is (a new presence, one that is back within its
// lease, or the next connection of one that is online), which older session a new one
// succeeds, which presences a key or a group means, and which status a signal leads to.
//
// This package is for claudemesh itself; outsiders should not rely on it.
//
// # Files
//
//	store.go       what is kept of a presence: its identity and Record
//	room.go        the Room: its presences and their indexes
//	join.go        decides what an arriving connection is
//	lease.go       what a presence becomes when its connection ends, and when its lease does
//	succession.go  which session goes on for which
//	lookup.go      finds presences by key, member or identity, and the home of a member
//	audience.go    who is in a group
//	status.go      decides between statuses
//	change.go      a presence changes its summary, profile, groups
//	pending.go     hook posts that are matched to a presence, or wait for one
//	version.go     numbers the changes of the roster, for readers that know an earlier one
//
// # Concurrency
//
// Nothing here is safe for concurrent use. The broker holds one lock per mesh
// around every call, lookups included. There is no clock, no goroutine and no
// I/O: methods take the present time, and what has to be stored is collected for
// [Room.TakeDirty].
//
// # Invariants
//
//   - A presence is in the room exactly as long as it is online or leased; an
//     ended one never comes back.
//   - There is at most one presence per [Identity], and therefore at most one per
//     proven session key.
//   - Once a session key has been proven, it never means a presence that merely claims
//     it, not even while the session is away.
//   - Presence fields change through the room only, because the room keeps
//     indexes over them. Slices and pointers in a [Record] are replaced, never
//     written to, so that a copied Record is a snapshot.
package presence
