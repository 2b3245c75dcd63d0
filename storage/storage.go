// Package storage holds what the two storages have in common. Their code is in
// storage/sqlite and storage/postgres; both implement the Store interfaces of
// the packages mesh, presence, queue, audit and journal.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package storage

import (
	"errors"
	"fmt"
)

// NewerSchemaError says that the database was written by a newer broker. It
// must not be touched by this one.
type NewerSchemaError struct {
	Found, Known int // schema versions
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the database has schema version %d, this broker knows versions up to %d: run a newer broker, or restore a backup from before the upgrade", e.Found, e.Known)
}

// ErrInUse says that another broker holds the database. One broker at a time
// may, since presences and unacknowledged pushes live in its memory.
var ErrInUse = errors.New("another broker is using this database")

// ErrSuspended says that a broker could not renew its lease of the database in time, so
// that another one may take the database at any moment. It is over as soon as the lease
// is renewed.
var ErrSuspended = errors.New("this broker could not renew its lease of the database in time")

// ErrUnfit says that a broker can't work with the database in the way in which it is
// reached. The error around it says why, and what to do; trying again is of no use.
var ErrUnfit = errors.New("this database is not fit for a broker")
