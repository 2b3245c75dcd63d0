// Package storagetest is the conformance suite of the storages. Both storage/sqlite and
// storage/postgres run it. It tests the Store interfaces of the domain packages, sentence
// by sentence.
//
// # Files
//
//	suite.go       the Store, and the list of tests
//	cluster.go     the list of tests for several nodes; they join, get meshes or get none, and leave
//	owners.go      which node owns a mesh; only the owner writes to the mesh and sweeps it
//	build.go       meshes, messages and checks for the tests
//	life.go        texts, migration, claims, closed stores
//	upgrade.go     a database of an older broker
//	mesh.go        meshes, members and invites
//	redeem.go      invites are used
//	presence.go    presences, sessions and hellos
//	commit.go      batches, duplicates, the audit log
//	queue.go       mailboxes and messages
//	settle.go      deliveries are settled and expire
//	auditnotes.go  the pruned part of the audit log
//	bench.go       benchmarks
//
// This package is for claudemesh itself; outsiders should not rely on it.
package storagetest
