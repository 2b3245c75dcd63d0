//go:build !linux

package disktest

import "testing"

// Small mounts a disk of 16 MiB on a directory.
func Small(t testing.TB, _ string) { skip(t) }

// Busy mounts a file or directory on itself, so that nothing can replace it, until end is
// called or the test ends.
func Busy(t testing.TB, _ string) (end func()) { skip(t); return nil }

// ReadOnly is like Busy, and nothing can be written there.
func ReadOnly(t testing.TB, _ string) (end func()) { skip(t); return nil }

func skip(t testing.TB) {
	t.Helper()
	t.Skip("only Linux has the mounts that this test needs")
}
