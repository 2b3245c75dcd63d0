//go:build !linux

package disktest

import "testing"

// Small skips the test.
func Small(t testing.TB, _ string) { skip(t) }

// Busy skips the test.
func Busy(t testing.TB, _ string) (end func()) { skip(t); return nil }

// ReadOnly skips the test.
func ReadOnly(t testing.TB, _ string) (end func()) { skip(t); return nil }

func skip(t testing.TB) {
	t.Helper()
	t.Skip("this test needs mounts that only Linux has")
}
