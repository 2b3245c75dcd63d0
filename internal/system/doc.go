// Package system holds what Unix and Windows do differently, in one file for each, so that
// the client builds on both.
package system

import "errors"

// ErrLocked is returned by TryLock when another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")
