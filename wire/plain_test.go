package wire

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzPlain compares the checks of eight bytes at a time with byte-by-byte checks.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "abc", "YWJjZGVmZ2hpamtsbW5vcA==", "a\"b", `a\b`, "\x1f", "\x7f", "ä", "\x80", "1234567\\", "1234567\"", "12345678\x00", "!!!!!!!!", "\x1f\x20"} {
		f.Add(s)
		f.Add("12345678" + s + "12345678")
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted, err := jsontext.AppendQuote(nil, s)
		verbatim := err == nil && string(quoted) == `"`+s+`"`
		for _, c := range []byte(s) {
			verbatim = verbatim && c < 0x80 // others are looked at one by one
		}
		if got := isVerbatim(s); got != verbatim {
			t.Errorf("isVerbatim(%q) = %v", s, got)
		}
		if got := appendString(nil, s); string(got) != string(quoted) {
			t.Errorf("appendString(%q) = %s, want %s", s, got, quoted)
		}
		plain := !strings.Contains(s, `\`)
		for _, c := range []byte(s) {
			plain = plain && c < 0x80
		}
		if got := isPlain([]byte(s)); got != plain {
			t.Errorf("isPlain(%q) = %v", s, got)
		}
		if _, err := base64.StdEncoding.DecodeString(s); (err == nil) != isBase64(s) && !strings.ContainsAny(s, "\r\n=") {
			t.Errorf("isBase64(%q) = %v", s, isBase64(s))
		}
	})
}
