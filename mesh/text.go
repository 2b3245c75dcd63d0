package mesh

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

const maxSlugLen = 64

// validSlug reports whether s is 1-64 of [a-z0-9._-] without a leading dot: it
// names directories on clients' disks.
func validSlug(s string) bool {
	if s == "" || len(s) > maxSlugLen || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// validName reports whether s can be shown as a name: 1-128 bytes of UTF-8, not
// blank, nothing unprintable.
func validName(s string) bool {
	return len(s) <= wire.MaxNameLen && utf8.ValidString(s) &&
		strings.TrimSpace(s) != "" && !strings.ContainsFunc(s, unprintable)
}

// cleanName makes a valid name of whatever a client sent, or returns fallback
// when nothing is left of it.
func cleanName(s, fallback string) string {
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.TrimSpace(s)
	if len(s) > wire.MaxNameLen {
		end := wire.MaxNameLen
		for !utf8.RuneStart(s[end]) {
			end--
		}
		s = strings.TrimSpace(s[:end])
	}
	if s == "" {
		return fallback
	}
	return s
}

// unprintable is true of what would let a name break a line, steer a terminal
// or turn the text around it.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// isURLSafe reports whether s holds only [A-Za-z0-9_-], the alphabet of
// base64url.
func isURLSafe(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// parseKey reads a public key of 64 lower-case hex digits that is not zero,
// which stands for no key.
func parseKey(field, s string) (wire.Key, error) {
	key, err := wire.ParseKey(s)
	if err != nil {
		return wire.Key{}, refuse(wire.CodeMalformed, "%s %s", field, err)
	}
	if key.IsZero() {
		return wire.Key{}, refuse(wire.CodeMalformed, "%s is no key", field)
	}
	return key, nil
}

// checkSigned checks a request that was signed at a timestamp in Unix ms: first
// the skew, then the signature.
func checkSigned(key wire.Key, text string, timestamp int64, sig wire.Signature, now time.Time) error {
	ms, skew := now.UnixMilli(), identity.MaxSkew.Milliseconds()
	if timestamp < ms-skew || timestamp > ms+skew {
		return refuseFor(wire.CodeTimestampSkew, identity.ErrTimestampSkew)
	}
	if !identity.Verify(key, text, sig) {
		return refuseFor(wire.CodeBadSignature, identity.ErrBadSignature)
	}
	return nil
}

// stamp is now as it is stored: UTC, to the millisecond.
func stamp(now time.Time) time.Time { return time.UnixMilli(now.UnixMilli()).UTC() }
