package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// encodingVersion begins every hashed entry.
const encodingVersion = 1

// String returns the hash as 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Extend makes the event the next entry of the chain that ends in head, and
// returns it with the new head. The event's time is cut to the millisecond. All
// events given to one chain must be of its mesh.
func Extend(head Head, e Event) (Entry, Head) {
	e.At = time.UnixMilli(e.At.UnixMilli()).UTC()
	entry := Entry{Event: e, Seq: head.Seq + 1, Prev: head.Hash}
	entry.Hash = entry.hash()
	return entry, Head{Seq: entry.Seq, Hash: entry.Hash}
}

// hash computes what Hash must be; the package comment defines it.
func (e *Entry) hash() Hash {
	// On the stack for entries of usual size.
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
