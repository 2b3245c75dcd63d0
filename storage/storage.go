package storage

import (
	"errors"
	"fmt"
)

// NewerSchemaError reports that a newer broker has upgraded the database. This broker must
// not touch it.
type NewerSchemaError struct {
	Found, Known int // schema versions
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the database has schema version %d, but this broker knows only versions up to %d; run a newer broker, or restore a backup from before the upgrade", e.Found, e.Known)
}

// ErrInUse reports that another broker holds the database. Only one broker may use it at a
// time, because presences and unacknowledged pushes are in the broker's memory.
var ErrInUse = errors.New("another broker is using this database")

// ErrSetBack reports that the database has forgotten what it had confirmed: somebody has
// restored a backup under the running broker, or a standby without the newest transactions
// has become the primary. What the broker has in memory is out of date, as after ErrInUse.
var ErrSetBack = errors.New("the database is older than what this broker has stored: it was restored from a backup, or failed over to a standby without the newest transactions")

// IsLost reports whether an error says that the broker has lost the database. The broker must
// forget what it has in memory, and claim the database again.
func IsLost(err error) bool { return errors.Is(err, ErrInUse) || errors.Is(err, ErrSetBack) }

// ErrSuspended reports that the broker could not renew its lease of the database in time,
// so another broker may take the database at any moment. The suspension ends as soon as
// the broker renews the lease.
var ErrSuspended = errors.New("this broker could not renew its lease of the database in time")

// ErrUnfit reports that a broker can't work over its connection to the database. The error
// that wraps it gives the reason and what to do; trying again does not help.
var ErrUnfit = errors.New("a broker can't use this database")
