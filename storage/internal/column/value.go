package column

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/wire"
)

// Text returns s in a form that both databases can store. Postgres refuses NUL and invalid
// UTF-8, so Text replaces each of these by U+FFFD. Pass lookup keys through Text too.
func Text(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// NullText is Text, but returns nil for "".
func NullText(s string) *string {
	if s == "" {
		return nil
	}
	s = Text(s)
	return &s
}

// Key returns the bytes of k, or nil for the zero Key.
func Key(k wire.Key) []byte {
	if k.IsZero() {
		return nil
	}
	return k[:]
}

// Millis returns t in Unix milliseconds, or nil for the zero time.
func Millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
