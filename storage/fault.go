package storage

import (
	"context"
	"errors"
	"net"
	"slices"
)

// Reason says in one word why a storage can't store messages. It is public: it contains no
// names and no addresses.
type Reason string

// reasons are all reasons, for Reasons.
var reasons []Reason

func newReason(word string) Reason {
	reasons = append(reasons, Reason(word))
	return Reason(word)
}

// These are the reasons.
var (
	Unreachable = newReason("unreachable") // the database can't be reached
	NoAnswer    = newReason("no_answer")   // the database does not answer in time
	ReadOnly    = newReason("read_only")
	Full        = newReason("full")
	Refused     = newReason("refused")   // the broker lacks a login or a right
	InUse       = newReason("in_use")    // another broker has the database
	SetBack     = newReason("set_back")  // see ErrSetBack
	Suspended   = newReason("suspended") // see ErrSuspended
	Unfit       = newReason("unfit")     // see ErrUnfit
	Failed      = newReason("failed")    // anything else
)

// Reasons returns all reasons.
func Reasons() []Reason { return slices.Clone(reasons) }

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
