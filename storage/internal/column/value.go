package column

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/wire"
)

// Text returns s as both databases can hold it: Postgres refuses NUL and bytes
// that are no UTF-8, so each of them becomes U+FFFD. Keys that are looked up
// must be passed through it too.
func Text(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// NullText is Text, but nil for "".
func NullText(s string) *string {
	if s == "" {
		return nil
	}
	s = Text(s)
	return &s
}

// Key returns the bytes of k, nil for the zero Key.
func Key(k wire.Key) []byte {
	if k.IsZero() {
		return nil
	}
	return k[:]
}

// Millis returns t in Unix milliseconds, nil for the zero time.
func Millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
