// Package mesh implements the rules of membership: meshes, members, roles, invites and
// grants. A [Store] persists them. A [Directory] keeps the members of the meshes in use
// in memory, so that routing a message needs no database query.
//
// # Files
//
//	mesh.go       meshes, members, invites, and the Store that keeps them
//	directory.go  loads meshes into memory and forgets them
//	view.go       the members of one mesh at one moment
//	create.go     makes a mesh
//	invite.go     registers, lists and revokes invites; the client makes code and secret
//	claim.go      a new member joins by an invite link
//	join.go       a new member joins by a v1 token or its proof
//	member.go     grants, roles, removing and banning
//	whose.go      which mesh an invite or a token belongs to
//	text.go       checks names, keys and signatures of requests
//	refusal.go    codes and texts of refusals
//
// # Concurrency
//
// Any number of goroutines may use a Directory and its Views. Members in memory are
// immutable: a change replaces the Member. The Directory serializes the changes to a
// mesh's members; each change goes to the Store first and then to memory. The Directory
// must be the only writer of its Store. When the outcome of a write is unknown, because
// the Store was unreachable or the caller's context ended, the Directory reads the mesh
// again before the next change.
//
// # Refusals
//
// If a rule forbids a request, the error is a *[Refusal] with a code for the answer. Any
// other error, except [ErrMeshNotFound] from [Directory.Get], means that the storage is
// unreachable or that the context ended.
//
// # Rights
//
// The owner and the admins invite and remove members. Only the owner invites and
// removes admins and changes roles. Nobody removes the owner or changes its role. An
// invite is valid only while its creator has the right to create it: an invite of a
// removed admin counts as revoked.
//
// Nothing in this package reads the clock: each rule takes the current time as an
// argument.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package mesh
