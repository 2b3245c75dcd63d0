package column

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// Row is a row of either database's results.
type Row interface {
	Scan(dest ...any) error
}

// Rows are the results of a query of either database.
type Rows interface {
	Row
	Next() bool
	Err() error
}

// Collect reads all rows with scan. The caller closes the rows.
func Collect[T any](rows Rows, scan func(Row) (T, error)) ([]T, error) {
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// scanner is a sql.Scanner made from a function.
type scanner func(src any) error

func (f scanner) Scan(src any) error { return f(src) }

// IntoID scans an id: 16 bytes, the text of a UUID, or NULL for the zero ID.
func IntoID(id *wire.ID) sql.Scanner {
	return scanner(func(src any) error {
		*id = wire.ID{}
		switch v := src.(type) {
		case nil:
			return nil
		case []byte:
			return fill(id[:], v)
		case string:
			parsed, err := wire.ParseID(strings.ReplaceAll(v, "-", ""))
			*id = parsed
			return err
		}
		return fmt.Errorf("an id is stored as %T", src)
	})
}

// IntoKey scans a key, NULL for the zero Key.
func IntoKey(k *wire.Key) sql.Scanner { return IntoBytes(k[:]) }

// IntoBytes scans exactly len(dst) bytes, NULL for zeros.
func IntoBytes(dst []byte) sql.Scanner {
	return scanner(func(src any) error {
		switch v := src.(type) {
		case nil:
			clear(dst)
			return nil
		case []byte:
			return fill(dst, v)
		}
		return fmt.Errorf("bytes are stored as %T", src)
	})
}

func fill(dst, src []byte) error {
	if len(src) != len(dst) {
		return fmt.Errorf("%d bytes are stored where there should be %d", len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

// IntoTime scans Unix milliseconds, NULL for the zero time.
func IntoTime(t *time.Time) sql.Scanner {
	return scanner(func(src any) error {
		switch v := src.(type) {
		case nil:
			*t = time.Time{}
			return nil
		case int64:
			*t = time.UnixMilli(v).UTC()
			return nil
		}
		return fmt.Errorf("a time is stored as %T", src)
	})
}

// intoText scans a text, NULL for "".
func intoText(s *string) sql.Scanner {
	return scanner(func(src any) error {
		text, err := textOf(src)
		*s = text
		return err
	})
}

// intoBan scans the result of Ban.
func intoBan(m *mesh.Member) sql.Scanner {
	return scanner(func(src any) (err error) {
		m.Banned = src != nil
		m.BanReason, err = textOf(src)
		return err
	})
}

// Ban returns why a member is banned, or nil if the member is not banned.
func Ban(m *mesh.Member) *string {
	if !m.Banned {
		return nil
	}
	text := Text(m.BanReason)
	return &text
}

// intoRaw scans JSON unchanged; NULL becomes nil.
func intoRaw(raw *json.RawMessage) sql.Scanner {
	return scanner(func(src any) error {
		*raw = nil
		text, err := textOf(src)
		if text != "" {
			*raw = json.RawMessage(text)
		}
		return err
	})
}

// intoJSON scans the JSON of a T. NULL and empty values become T's zero value.
func intoJSON[T any](dst *T) sql.Scanner {
	return scanner(func(src any) error {
		var zero T
		*dst = zero
		text, err := textOf(src)
		if err != nil || text == "" || text == "[]" || text == "{}" {
			return err
		}
		return json.Unmarshal([]byte(text), dst)
	})
}

// intoProfile scans the JSON of a profile; NULL becomes nil.
func intoProfile(dst **wire.Profile) sql.Scanner {
	return scanner(func(src any) error {
		*dst = nil
		text, err := textOf(src)
		if err != nil || text == "" {
			return err
		}
		*dst = new(wire.Profile)
		return json.Unmarshal([]byte(text), *dst)
	})
}

// intoAttestation scans a compact attestation; NULL becomes nil. Both databases scan a
// row's columns in order, so the columns of the keys in the attestation must come before
// it.
func intoAttestation(dst **wire.Attestation, session, member *wire.Key) sql.Scanner {
	return scanner(func(src any) (err error) {
		switch v := src.(type) {
		case nil:
			*dst = nil
			return nil
		case []byte:
			*dst, err = wire.ExpandAttestation(*session, *member, v)
			return err
		}
		return fmt.Errorf("an attestation is stored as %T", src)
	})
}

func textOf(src any) (string, error) {
	switch v := src.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", fmt.Errorf("text is stored as %T", src)
}
