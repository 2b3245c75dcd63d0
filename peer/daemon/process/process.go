// Package process names processes so that a reused number is not taken for the
// process that had it before: by number and moment of start.
package process

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrGone is returned for a process that has ended, or never was.
var ErrGone = errors.New("no such process")

// ID names one process for as long as the machine is up.
type ID struct {
	PID int
	// Start tells when the process began, in the system's own form: clock ticks
	// since the boot on Linux, seconds and microseconds on macOS. It is only ever
	// compared.
	Start string
}

// Of returns the process that has that number now; ErrGone if none has.
func Of(pid int) (ID, error) {
	if pid <= 0 {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	start, err := startOf(pid)
	if err != nil {
		return ID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return ID{pid, start}, nil
}

// Alive reports whether the process has not ended. One that has ended and whose
// parent has not asked for its exit code yet is not alive. When the system does
// not tell, the process counts as alive.
func (id ID) Alive() bool {
	now, err := Of(id.PID)
	if err != nil {
		return !errors.Is(err, ErrGone)
	}
	return now.Start == id.Start
}

// String returns the number and the start.
func (id ID) String() string { return strconv.Itoa(id.PID) + "@" + id.Start }
