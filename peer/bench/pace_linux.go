package bench

import (
	"syscall"
	"time"
)

// preciseSleep may return early.
func preciseSleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // if it is interrupted, the caller checks the clock
}
