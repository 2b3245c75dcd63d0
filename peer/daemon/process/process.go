// Package process names processes so that a reused number is not taken for the
// process that had it before, nor one of a container for its namesake outside: by pid
// namespace, number and moment of start.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ErrGone is returned for a process that has ended, or never was.
var ErrGone = errors.New("no such process")

// errHidden tells that the system does not show the processes of this namespace.
var errHidden = errors.New("/proc shows another pid namespace, or nothing")

// Number is the number that a process has in its pid namespace. Two processes that live
// at the same time have different ones.
type Number struct {
	Domain string // the namespace, see [Domain]
	PID    int
}

// Here returns the number of a process in this process's own namespace.
func Here(pid int) Number { return Number{Domain(), pid} }

// Seen reports whether this process can look at the one with that number.
func (n Number) Seen() bool { return n.Domain == Domain() && canSee() }

// In reports whether the number may be of that pid namespace, as the link
// /proc/self/ns/pid names it; "" may be any.
func (n Number) In(namespace string) bool {
	return namespace == "" || n.Domain == "" || strings.HasSuffix(n.Domain, " "+namespace)
}

// String returns the number, and its namespace when that is not this process's own.
func (n Number) String() string {
	if n.Domain == Domain() {
		return strconv.Itoa(n.PID)
	}
	return fmt.Sprintf("%d of another container (%s)", n.PID, n.Domain)
}

// ID names one process for as long as the machine is up.
type ID struct {
	Number
	// Start tells when the process began, in the system's own form: clock ticks
	// since the boot on Linux, seconds and microseconds on macOS. It is only ever
	// compared. "" when nobody could tell, of a process that is not seen.
	Start string
}

// Of returns the process that has that number in this process's namespace; ErrGone if
// none has.
func Of(pid int) (ID, error) {
	if pid <= 0 {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if !canSee() {
		return ID{}, fmt.Errorf("process %d: %w", pid, errHidden)
	}
	start, err := startOf(pid)
	if err != nil {
		return ID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return ID{Here(pid), start}, nil
}

// Own returns this process, without its start where the system does not tell.
func Own() ID {
	pid := os.Getpid()
	id, err := Of(pid)
	if err != nil {
		return ID{Number: Here(pid)}
	}
	return id
}

// Alive reports whether the process has not ended. One that has ended and whose
// parent has not asked for its exit code yet is not alive. When the system does
// not tell, as of one that is not seen, the process counts as alive.
func (id ID) Alive() bool {
	if !id.Seen() {
		return true
	}
	now, err := Of(id.PID)
	if err != nil {
		return !errors.Is(err, ErrGone)
	}
	return now.Start == id.Start
}

// String returns the number and the start.
func (id ID) String() string { return id.Number.String() + "@" + id.Start }
