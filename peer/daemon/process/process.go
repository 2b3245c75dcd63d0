// Package process identifies processes by pid namespace, pid and start time. A process
// is therefore never confused with an earlier one that had the same pid, nor with one of
// the same pid inside or outside a container.
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

// ErrGone means that a process has ended or never existed.
var ErrGone = errors.New("no such process")

// errHidden means that the system does not show the processes of this namespace.
var errHidden = errors.New("/proc shows another pid namespace, or nothing")

// Number is a pid together with its pid namespace. Two processes that run at the same time have
// different Numbers.
type Number struct {
	Domain string // the namespace, see [Domain]
	PID    int
}

// Here returns the number of a process in this process's own namespace.
func Here(pid int) Number { return Number{Domain(), pid} }

// Seen reports whether this process can observe the process with that number.
func (n Number) Seen() bool { return n.Domain == Domain() && canSee() }

// In reports whether the number may belong to the pid namespace, named as by the link
// /proc/self/ns/pid. "" stands for any namespace.
func (n Number) In(namespace string) bool {
	return namespace == "" || n.Domain == "" || strings.HasSuffix(n.Domain, " "+namespace)
}

// String returns the pid, and its namespace if that is not this process's own.
func (n Number) String() string {
	if n.Domain == Domain() {
		return strconv.Itoa(n.PID)
	}
	return fmt.Sprintf("%d of another container (%s)", n.PID, n.Domain)
}

// ID identifies one process for as long as the machine is up.
type ID struct {
	Number
	// Start is the start time of the process in the system's own form: clock ticks since boot
	// on Linux, seconds and microseconds on macOS. It serves only for comparison. It is "" if
	// unknown, as for a process that is not visible.
	Start string
}

// Of returns the process with that pid in this process's namespace, or ErrGone if there is
// none.
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

// Own returns this process. Start is "" if the system does not report it.
func Own() ID {
	pid := os.Getpid()
	id, err := Of(pid)
	if err != nil {
		return ID{Number: Here(pid)}
	}
	return id
}

// Alive reports whether the process is running. A zombie, whose parent has not yet read its
// exit code, is not alive. If the system does not tell, as for an invisible process, the
// process counts as alive.
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
