package mesh

import (
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// validName reports whether s can be shown as a name: 1-128 bytes of UTF-8 that are
// shown as they are, on one line, and not blank.
func validName(s string) bool {
	return len(s) <= wire.MaxNameLen && strings.TrimSpace(s) != "" && visible.Line(s, visible.People) == s
}

// cleanName makes a valid name of whatever a client sent, or returns fallback
// when nothing is left of it.
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

// newName returns the name under which a client of ours makes somebody a member, or
// refuses it. fallback is for who gave none.
func newName(s, fallback string) (string, error) {
	if s = strings.TrimSpace(s); s == "" {
		return fallback, nil
	}
	if len(s) > wire.MaxNameLen {
		return "", refuse(CodeBadName, "a name has %d bytes at most", wire.MaxNameLen)
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
