package postgres

import (
	"encoding/binary"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// id encodes an id as a Postgres uuid.
type id = pgtype.UUID

func uuid(v wire.ID) id { return id{Bytes: v, Valid: true} }

// array is a column of a list of rows, for unnest: a one-dimensional array in Postgres's
// binary format. pgx can encode slices too, but uses reflection and an allocation for each
// element, and commits consist mostly of arrays.
type array []byte

// columnOf makes an array. value appends a row's value to b, or returns nil for NULL. size
// is the approximate number of bytes of all values.
func columnOf[R any](oid uint32, size int, rows []R, value func(b []byte, row R) []byte) array {
	const header = 5 * 4
	b := make([]byte, header, header+4*len(rows)+size)
	null := uint32(0)
	for _, row := range rows {
		at := len(b)
		b = append(b, 0xff, 0xff, 0xff, 0xff) // the length of NULL
		if v := value(b, row); v != nil {
			b = v
			binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		} else {
			null = 1
		}
	}
	// The header consists of the number of dimensions, whether there are NULLs, the type,
	// and the length and lower bound of the only dimension.
	for i, v := range [...]uint32{1, null, oid, uint32(len(rows)), 1} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
	return b
}

func uuids[R any](rows []R, value func(R) wire.ID) array {
	return columnOf(pgtype.UUIDOID, 16*len(rows), rows, func(b []byte, r R) []byte {
		v := value(r)
		return append(b, v[:]...)
	})
}

// keys are bytea; the zero Key is NULL.
func keys[R any](rows []R, value func(R) wire.Key) array {
	return columnOf(pgtype.ByteaOID, 32*len(rows), rows, func(b []byte, r R) []byte {
		v := value(r)
		if v.IsZero() {
			return nil
		}
		return append(b, v[:]...)
	})
}

// blobs are bytea; nil is NULL.
func blobs[R any](rows []R, value func(R) []byte) array {
	return columnOf(pgtype.ByteaOID, 64*len(rows), rows, func(b []byte, r R) []byte {
		v := value(r)
		if v == nil {
			return nil
		}
		return append(b, v...)
	})
}

// texts passes each text through column.Text.
func texts[R any](rows []R, value func(R) string) array {
	size := 0 // counted exactly, because ciphertexts are most of what a commit sends
	for _, r := range rows {
		size += len(value(r))
	}
	return columnOf(pgtype.TextOID, size, rows, func(b []byte, r R) []byte { return append(b, column.Text(value(r))...) })
}

// nullTexts stores nil as NULL.
func nullTexts[R any](rows []R, value func(R) *string) array {
	return columnOf(pgtype.TextOID, 0, rows, func(b []byte, r R) []byte {
		v := value(r)
		if v == nil {
			return nil
		}
		return append(b, *v...)
	})
}

func bigints[R any](rows []R, value func(R) int64) array {
	return columnOf(pgtype.Int8OID, 8*len(rows), rows, func(b []byte, r R) []byte { return binary.BigEndian.AppendUint64(b, uint64(value(r))) })
}

func smallints[R any](rows []R, value func(R) int16) array {
	return columnOf(pgtype.Int2OID, 2*len(rows), rows, func(b []byte, r R) []byte { return binary.BigEndian.AppendUint16(b, uint16(value(r))) })
}

// times are bigint, in Unix milliseconds; the zero time is NULL.
func times[R any](rows []R, value func(R) time.Time) array {
	return columnOf(pgtype.Int8OID, 8*len(rows), rows, func(b []byte, r R) []byte {
		v := value(r)
		if v.IsZero() {
			return nil
		}
		return binary.BigEndian.AppendUint64(b, uint64(v.UnixMilli()))
	})
}

func booleans[R any](rows []R, value func(R) bool) array {
	return columnOf(pgtype.BoolOID, 1*len(rows), rows, func(b []byte, r R) []byte {
		if value(r) {
			return append(b, 1)
		}
		return append(b, 0)
	})
}

// arrays lets a connection send values of type array.
func arrays(types *pgtype.Map) {
	for _, oid := range []uint32{pgtype.UUIDArrayOID, pgtype.ByteaArrayOID, pgtype.TextArrayOID, pgtype.Int8ArrayOID,
		pgtype.Int2ArrayOID, pgtype.BoolArrayOID} {
		if known, ok := types.TypeForOID(oid); ok {
			types.RegisterType(&pgtype.Type{Name: known.Name, OID: oid, Codec: arrayCodec{known.Codec}})
		}
	}
}

// arrayCodec is pgx's codec, extended to send an array unchanged.
type arrayCodec struct{ pgtype.Codec }

// PlanEncode implements pgtype.Codec.
func (c arrayCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(array); ok && format == pgtype.BinaryFormatCode {
		return encoded{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

// encoded is the plan for a value that is already encoded.
type encoded struct{}

// Encode implements pgtype.EncodePlan.
func (encoded) Encode(value any, buf []byte) ([]byte, error) {
	return append(buf, value.(array)...), nil
}

// each calls f for each element of a list.
func each[R, T any](rows []R, f func(R) T) []T {
	list := make([]T, len(rows))
	for i, row := range rows {
		list[i] = f(row)
	}
	return list
}

// counting adds up the rows that a statement of a pipeline changed.
func counting(n *int64) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*n += tag.RowsAffected()
		return nil
	}
}

// scanID reads a row that consists of an id.
func scanID(r column.Row) (id wire.ID, err error) {
	err = r.Scan(column.IntoID(&id))
	return id, err
}
