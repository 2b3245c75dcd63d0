package wire

import "time"

// Status is what a peer is doing.
type Status string

// The three statuses.
const (
	Idle    Status = "idle"
	Working Status = "working"
	DND     Status = "dnd" // do not disturb; only a person ends it
)

// Valid reports whether s is one of the three statuses.
func (s Status) Valid() bool { return s == Idle || s == Working || s == DND }

// Priority says whether a message waits for a busy recipient.
type Priority string

// The three priorities.
const (
	Now  Priority = "now"  // delivered at once, whatever the status
	Next Priority = "next" // held while the recipient is working or in dnd
	Low  Priority = "low"  // same as next
)

// Valid reports whether p is one of the three priorities.
func (p Priority) Valid() bool { return p == Now || p == Next || p == Low }

// TimeFormat is the format of times on the wire: ISO 8601 in UTC with milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Time is a moment in the wire's format.
type Time struct{ time.Time }

// MarshalText returns the time in the wire's format.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.UTC().Format(TimeFormat)), nil }

// MarshalJSON returns the time in the wire's format, as a JSON string.
func (t Time) MarshalJSON() ([]byte, error) {
	return append(t.UTC().AppendFormat([]byte{'"'}, TimeFormat), '"'), nil
}
