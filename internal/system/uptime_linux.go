package system

import (
	"time"

	"golang.org/x/sys/unix"
)

// Uptime is the time since the machine started. It goes on while the machine sleeps, and
// nobody can set it.
func Uptime() time.Duration { return clock(unix.CLOCK_BOOTTIME) }
