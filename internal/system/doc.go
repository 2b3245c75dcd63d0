// Package system wraps the system calls that differ between Unix and Windows, with one
// file for each, so that the client builds on both.
package system

import "errors"

// ErrLocked is returned by TryLock when another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")
