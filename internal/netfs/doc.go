// Package netfs detects files on a file system that another machine serves or shares.
// On such a file system, locks may not work, and memory mapped from a file isn't shared
// with the other machine. SQLite's write-ahead log relies on both.
//
// # Files
//
//	netfs.go         the kind of a file system
//	netfs_linux.go   how Linux tells it
//	netfs_darwin.go  how macOS tells it
//	netfs_other.go   other systems, which don't tell it
package netfs
