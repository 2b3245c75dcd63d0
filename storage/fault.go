package storage

import (
	"context"
	"errors"
	"net"
)

// Reason says in a word why a storage can't take messages. Anybody may read it: it
// holds no name and no address.
type Reason string

// The reasons.
const (
	Unreachable Reason = "unreachable" // nobody answers
	NoAnswer    Reason = "no_answer"   // nobody answers in time
	ReadOnly    Reason = "read_only"
	Full        Reason = "full"
	Refused     Reason = "refused"   // a login or a right is missing
	InUse       Reason = "in_use"    // another broker has it
	Suspended   Reason = "suspended" // see ErrSuspended
	Unfit       Reason = "unfit"     // see ErrUnfit
	Failed      Reason = "failed"    // anything else
)

// Fault is an error whose reason is known.
type Fault struct {
	Reason Reason
	Err    error
}

func (f *Fault) Error() string { return f.Err.Error() }

func (f *Fault) Unwrap() error { return f.Err }

// ReasonOf returns the reason of a storage's error.
func ReasonOf(err error) Reason {
	var fault *Fault
	var network net.Error
	switch {
	case errors.Is(err, ErrInUse):
		return InUse
	case errors.Is(err, ErrSuspended):
		return Suspended
	case errors.Is(err, ErrUnfit):
		return Unfit
	case errors.As(err, &fault):
		return fault.Reason
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return NoAnswer
	}
	return Failed
}
