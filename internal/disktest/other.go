//go:build !linux

package disktest

import "testing"

// Small skips the test.
func Small(t testing.TB, _ string) { skip(t) }

// Busy skips the test.
func Busy(t testing.TB, _ string) (end func()) { skip(t); return nil }

// ReadOnly skips the test.
func ReadOnly(t testing.TB, _ string) (end func()) { skip(t); return nil }

// Locked skips the test.
func Locked(t testing.TB, _ string) bool { skip(t); return false }

func skip(t testing.TB) {
	t.Helper()
	t.Skip("this test needs mounts or locks that only Linux has")
}
