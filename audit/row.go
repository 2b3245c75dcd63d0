package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// ErrBadRow is returned for a row that can't be an entry.
var ErrBadRow = errors.New("not an audit entry")

// Row returns the entry in the form of the answer to audit_query. A detail that isn't
// JSON, which only tampering can cause, becomes a JSON string: the answer stays
// readable, and the client's verification of the entry fails.
func Row(e Entry) wire.AuditRow {
	detail := json.RawMessage(e.Detail)
	if !json.Valid(detail) {
		detail, _ = json.Marshal(e.Detail) // can't fail for a string
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

// FromRow reads a row of the mesh's audit_query. It returns ErrBadRow if the row can't
// be an entry; Verify checks whether the entry is genuine.
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
		return Entry{}, fmt.Errorf("%w: detail of entry %d isn't JSON", ErrBadRow, r.Seq)
	}
	if e.Prev, err = parseHash(r.Prev); err != nil {
		return Entry{}, fmt.Errorf("%w: prev of entry %d %w", ErrBadRow, r.Seq, err)
	}
	if e.Hash, err = parseHash(r.Hash); err != nil {
		return Entry{}, fmt.Errorf("%w: hash of entry %d %w", ErrBadRow, r.Seq, err)
	}
	return e, nil
}

// parseHash reads 64 lower-case hex digits, the format of keys.
func parseHash(s string) (Hash, error) {
	k, err := wire.ParseKey(s)
	return Hash(k), err
}
