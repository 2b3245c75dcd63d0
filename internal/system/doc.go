// Package system wraps the system calls that differ between Unix and Windows, with one
// file for each, so that the client builds on both.
//
// # Files
//
//	system_unix.go     locks, modes, processes, processor time on Unix
//	system_windows.go  the same on Windows, and the uptime
//	uptime_linux.go    the uptime on Linux
//	uptime_unix.go     the uptime on other Unix systems
package system

import "errors"

// ErrLocked is returned by TryLock when another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")
