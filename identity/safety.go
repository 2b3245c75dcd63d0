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
	// safetyDomain keeps safety numbers apart from other uses of SHA-512. The
	// number at its end is the version: another one gives other numbers.
	safetyDomain = "claudemesh-safety-number|1|"

	// safetyRounds makes it 2^12 times dearer to look for a key whose digits are
	// like another's. It is the count of the numeric fingerprints of Signal.
	safetyRounds = 5200

	safetyGroups = 6 // of a key, each of 5 digits
)

// SafetyNumber returns 60 digits, in 12 groups of 5 with a space between, that
// two members compare to know that each has the other's true key. It is the same
// whichever key comes first, and another one in another mesh. It takes some
// milliseconds.
func SafetyNumber(meshID string, a, b wire.Key) string {
	x, y := Fingerprint(meshID, a), Fingerprint(meshID, b)
	if y < x {
		x, y = y, x
	}
	return x + " " + y
}

// Fingerprint returns the half of every safety number in a mesh that stands for one key:
// 30 digits, in 6 groups of 5 with a space between. They are some 100 bits of an iterated
// hash of the key.
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

// SafetyNumberV1 returns the 30 digits, in 6 groups of 5 with a space between, that
// clients of protocol v1 show for two members. It is the same whichever key comes first,
// and in every mesh.
func SafetyNumberV1(a, b wire.Key) string {
	if bytes.Compare(b[:], a[:]) < 0 {
		a, b = b, a
	}
	sum := sha256.Sum256(append(a[:], b[:]...))
	var groups []string
	for i := 0; i < 15; i += 5 { // two numbers of 20 bits in 5 bytes
		var chunk [8]byte
		copy(chunk[3:], sum[i:i+5])
		pair := binary.BigEndian.Uint64(chunk[:])
		groups = append(groups, fmt.Sprintf("%05d %05d", (pair>>20)%100_000, (pair&(1<<20-1))%100_000))
	}
	return strings.Join(groups, " ")
}
