package mesh

import (
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// validName reports whether s can be displayed as a name: 1-128 bytes of printable UTF-8
// on one line, not blank.
func validName(s string) bool {
	return len(s) <= wire.MaxNameLen && strings.TrimSpace(s) != "" && visible.Line(s, visible.People) == s
}

// cleanName turns a client's text into a valid name. It returns fallback if nothing is
// left of the text.
func cleanName(s, fallback string) string {
	var b strings.Builder
	for p := range visible.Pieces(s, visible.People) {
		if p.Shown == p.Text && visible.Line(p.Text, visible.People) == p.Text || p.Shown == " " {
			b.WriteString(p.Shown)
		}
	}
	s = strings.TrimSpace(visible.Cut(strings.TrimSpace(b.String()), wire.MaxNameLen, visible.Bytes))
	if !validName(s) {
		return fallback
	}
	return s
}

// newName returns the name of a new member that joins with our client, or refuses the
// name. It returns fallback if s is empty.
func newName(s, fallback string) (string, error) {
	if s = strings.TrimSpace(s); s == "" {
		return fallback, nil
	}
	if len(s) > wire.MaxNameLen {
		return "", refuse(CodeBadName, "a name can't be longer than %d bytes", wire.MaxNameLen)
	}
	if why := alike.NoNewName(s); why != "" {
		return "", refuse(CodeBadName, "a name can't %s", why)
	}
	return s, nil
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

// parseKey reads a public key of 64 lower-case hex digits. It refuses the zero key, which
// means "no key".
func parseKey(field, s string) (wire.Key, error) {
	key, err := wire.ParseKey(s)
	if err != nil {
		return wire.Key{}, refuse(wire.CodeMalformed, "%s %s", field, err)
	}
	if key.IsZero() {
		return wire.Key{}, refuse(wire.CodeMalformed, "%s isn't a key", field)
	}
	return key, nil
}

// checkSigned checks a signed request: first the skew of its timestamp, in Unix ms, then
// the signature.
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

// stamp returns now in the form in which it is stored: UTC, to the millisecond.
func stamp(now time.Time) time.Time { return time.UnixMilli(now.UnixMilli()).UTC() }
