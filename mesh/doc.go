// Package mesh holds the rules of membership: meshes, members, roles, invites
// and grants. What it knows is kept by a [Store]; a [Directory] keeps the members
// of the meshes in use in memory, so that routing a message asks no database.
//
// # Concurrency
//
// A Directory and its Views may be used by any number of goroutines. Members in
// memory are immutable: a change puts a new Member in the old one's place. All
// changes of one mesh's members go one after the other, the Store first and then
// memory, and the Directory must be the only writer of its Store. When the fate
// of a write is unknown, because the Store was out of reach or the caller gave
// up, the mesh is read again before anything else is built on it.
//
// # Refusals
//
// What a rule forbids comes back as a *[Refusal] with a code for the caller to
// answer with. Every other error but [ErrMeshNotFound] of [Directory.Get] means
// that the storage is out of reach or that the context ended.
//
// # Rights
//
// The owner and the admins invite and remove; only the owner invites or removes
// admins and changes roles; nobody removes or changes the owner. An invite lets
// people in only for as long as its maker may make such an invite: those of a
// removed admin count as revoked.
//
// Nothing here reads the clock: each rule takes the moment to judge by.
package mesh
