//go:build unix && !linux

package system

import (
	"time"

	"golang.org/x/sys/unix"
)

// Uptime returns the time since the machine started. It advances while the machine sleeps, and
// nobody can set it.
func Uptime() time.Duration { return clock(unix.CLOCK_MONOTONIC) }
