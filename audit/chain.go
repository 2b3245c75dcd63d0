package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// encodingVersion is the first byte of every hashed entry.
const encodingVersion = 1

// String returns the hash as 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = parseHash(string(text))
	return err
}

// Extend turns the event into the next entry of the chain that ends in head, and
// returns the entry and the new head. It truncates the event's time to the
// millisecond. All events of a chain must belong to its mesh.
func Extend(head Head, e Event) (Entry, Head) {
	e.At = time.UnixMilli(e.At.UnixMilli()).UTC()
	entry := Entry{Event: e, Seq: head.Seq + 1, Prev: head.Hash}
	entry.Hash = entry.hash()
	return entry, Head{Seq: entry.Seq, Hash: entry.Hash}
}

// hash computes the entry's Hash as the package comment defines it.
func (e *Entry) hash() Hash {
	// 512 bytes on the stack are enough for entries of usual size.
	b := make([]byte, 0, 512)
	b = append(b, encodingVersion)
	b = append(b, e.MeshID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Seq))
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixMilli()))
	for _, text := range [...]string{string(e.Kind), e.Actor, e.Detail} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	b = append(b, e.Prev[:]...)
	return sha256.Sum256(b)
}
