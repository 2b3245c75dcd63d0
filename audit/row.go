package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// ErrBadRow is returned for a row that cannot be an entry.
var ErrBadRow = errors.New("not an audit entry")

// Row returns the entry as audit_query answers it. A detail that is not JSON, as
// only tampering makes it, becomes a JSON string: the answer stays readable, and
// the entry fails verification there too.
func Row(e Entry) wire.AuditRow {
	detail := json.RawMessage(e.Detail)
	if !json.Valid(detail) {
		detail, _ = json.Marshal(e.Detail) // a string always has a JSON form
	}
	return wire.AuditRow{
		Seq:    e.Seq,
		At:     e.At.UnixMilli(),
		Kind:   string(e.Kind),
		Actor:  e.Actor,
		Detail: detail,
		Prev:   e.Prev.String(),
		Hash:   e.Hash.String(),
	}
}

// FromRow reads a row of an audit_query about the mesh, for Verify. Rows that
// cannot be entries give ErrBadRow; whether an entry is genuine is for Verify.
func FromRow(meshID wire.ID, r wire.AuditRow) (Entry, error) {
	e := Entry{
		Event: Event{
			MeshID: meshID,
			At:     time.UnixMilli(r.At).UTC(),
			Kind:   Kind(r.Kind),
			Actor:  r.Actor,
			Detail: string(r.Detail),
		},
		Seq: r.Seq,
	}
	var err error
	switch {
	case r.Seq < 1:
		return Entry{}, fmt.Errorf("%w: seq %d", ErrBadRow, r.Seq)
	case !json.Valid(r.Detail):
		return Entry{}, fmt.Errorf("%w: detail of %d is not JSON", ErrBadRow, r.Seq)
	}
	if e.Prev, err = parseHash(r.Prev); err != nil {
		return Entry{}, fmt.Errorf("%w: prev of %d %w", ErrBadRow, r.Seq, err)
	}
	if e.Hash, err = parseHash(r.Hash); err != nil {
		return Entry{}, fmt.Errorf("%w: hash of %d %w", ErrBadRow, r.Seq, err)
	}
	return e, nil
}

// parseHash reads 64 lower-case hex digits, which is the spelling of keys too.
func parseHash(s string) (Hash, error) {
	k, err := wire.ParseKey(s)
	return Hash(k), err
}
