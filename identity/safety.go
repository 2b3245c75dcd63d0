package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// safetyDomain separates safety numbers from other uses of SHA-512. It ends in
	// the version: another version gives other numbers.
	safetyDomain = "claudemesh-safety-number|1|"

	// safetyRounds makes it 2^12 times more expensive to search for a key with
	// similar digits. Signal uses the same count for its numeric fingerprints.
	safetyRounds = 5200

	safetyGroups = 6 // per key, 5 digits each
)

// SafetyNumber returns 60 digits, in 12 groups of 5 separated by spaces. Two members
// compare it to make sure that each has the other's true key. The order of the keys
// doesn't matter; each mesh gives another number. It takes a few milliseconds.
func SafetyNumber(meshID string, a, b wire.Key) string {
	x, y := Fingerprint(meshID, a), Fingerprint(meshID, b)
	if y < x {
		x, y = y, x
	}
	return x + " " + y
}

// Fingerprint returns the half of a safety number that belongs to one key: 30 digits,
// in 6 groups of 5 separated by spaces. They hold about 100 bits of an iterated hash
// of the key.
func Fingerprint(meshID string, key wire.Key) string {
	text := binary.BigEndian.AppendUint64([]byte(safetyDomain), uint64(len(meshID)))
	text = append(append(text, meshID...), key[:]...)
	sum := sha512.Sum512(text)
	for range safetyRounds {
		sum = sha512.Sum512(append(sum[:], key[:]...))
	}
	groups := make([]string, safetyGroups)
	for i := range groups {
		var chunk [8]byte
		copy(chunk[3:], sum[5*i:5*i+5])
		groups[i] = fmt.Sprintf("%05d", binary.BigEndian.Uint64(chunk[:])%100_000)
	}
	return strings.Join(groups, " ")
}

// SafetyNumberV1 returns the 30 digits, in 6 groups of 5 separated by spaces, that v1
// clients show for two members. The order of the keys doesn't matter, and every mesh
// gives the same number.
func SafetyNumberV1(a, b wire.Key) string {
	if bytes.Compare(b[:], a[:]) < 0 {
		a, b = b, a
	}
	sum := sha256.Sum256(append(a[:], b[:]...))
	var groups []string
	for i := 0; i < 15; i += 5 { // 5 bytes hold two numbers of 20 bits
		var chunk [8]byte
		copy(chunk[3:], sum[i:i+5])
		pair := binary.BigEndian.Uint64(chunk[:])
		groups = append(groups, fmt.Sprintf("%05d %05d", (pair>>20)%100_000, (pair&(1<<20-1))%100_000))
	}
	return strings.Join(groups, " ")
}
