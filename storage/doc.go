// Package storage contains what the two storages share. Their code is in storage/sqlite
// and storage/postgres. Both implement the Store interfaces of the packages mesh,
// presence, queue, audit and journal.
//
// # Files
//
//	storage.go  errors of both storages
//	fault.go    why a storage can't store, in one word
//
// This package is for claudemesh itself; outsiders should not rely on it.
package storage
