package wire

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ID identifies what the broker creates: meshes, members, presences, messages and
// invites. It is a UUIDv7 (RFC 9562 §5.7), so ids sort by creation time. On the wire
// it is 32 lower-case hex digits without dashes, which every v1 client accepts. The
// zero ID means "none".
type ID [16]byte

// ErrBadID is returned for text that is not 32 lower-case hex digits.
var ErrBadID = errors.New("must be 32 lowercase hex chars")

// ParseID reads the wire form of an id.
func ParseID(s string) (ID, error) {
	var id ID
	if !decodeLowerHex(id[:], s) {
		return ID{}, ErrBadID
	}
	return id, nil
}

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the wire form, or "" for the zero ID.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// Time returns the creation time of the id, to the millisecond.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16)).UTC()
}

// MarshalText returns the wire form, "" for the zero ID.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the wire form; "" gives the zero ID.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	parsed, err := ParseID(string(b))
	if err != nil {
		return fmt.Errorf("id: %w", err)
	}
	*id = parsed
	return nil
}

// IDSource makes ids that always ascend, even when the clock goes backwards. The zero
// value is ready to use. An IDSource is safe for concurrent use.
type IDSource struct {
	mu   sync.Mutex
	last uint64 // milliseconds << 12 | counter
}

// New returns an id with the time now, or the id after the newest one if that is
// later.
func (s *IDSource) New(now time.Time) ID {
	s.mu.Lock()
	tick := max(uint64(now.UnixMilli())<<12, s.last+1)
	s.last = tick
	s.mu.Unlock()

	var id ID
	rand.Read(id[8:]) // never fails (crypto/rand)
	binary.BigEndian.PutUint64(id[:8], tick>>12<<16|0x7000|tick&0xfff)
	id[8] = id[8]&0x3f | 0x80
	return id
}
