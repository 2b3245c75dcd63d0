package storage

import (
	"context"
	"errors"
	"net"
)

// Reason says in one word why a storage can't store messages. It is public: it contains no
// names and no addresses.
type Reason string

// These are the reasons.
const (
	Unreachable Reason = "unreachable" // the database can't be reached
	NoAnswer    Reason = "no_answer"   // the database does not answer in time
	ReadOnly    Reason = "read_only"
	Full        Reason = "full"
	Refused     Reason = "refused"   // the broker lacks a login or a right
	InUse       Reason = "in_use"    // another broker has the database
	SetBack     Reason = "set_back"  // see ErrSetBack
	Suspended   Reason = "suspended" // see ErrSuspended
	Unfit       Reason = "unfit"     // see ErrUnfit
	Failed      Reason = "failed"    // anything else
)

// Reasons are the reasons.
var Reasons = []Reason{Unreachable, NoAnswer, ReadOnly, Full, Refused, InUse, SetBack, Suspended, Unfit, Failed}

// Fault is an error with a known reason.
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
	case errors.Is(err, ErrSetBack):
		return SetBack
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
