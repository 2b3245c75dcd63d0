// Package presence knows who is here, and in which status.
//
// A [Room] holds the live presences of one mesh in memory: those with a
// connection (online) and those whose connection was lost a moment ago (leased).
// It decides who a newcomer is (somebody new, somebody back within the lease, or
// the next connection of somebody online), whose place a new session takes, who
// gets what is addressed to a key or a group, and which status a signal leads to.
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
//   - A session key that was proven once is never found under a presence that
//     only claims it, not even while the session is away.
//   - Presence fields change through the room only, because the room keeps
//     indexes over them. Slices and pointers in a [Record] are replaced, never
//     written to, so that a copied Record is a snapshot.
package presence
