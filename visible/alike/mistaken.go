package alike

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/claudemesh/claudemesh/visible"
)

// NoNewName returns why a name isn't allowed for a new member or session: it is Mistaken for
// something else, or contains invisible characters. It returns "" if the name is allowed. The
// text completes the sentence "a name can't ...".
func NoNewName(name string) string {
	if why := Mistaken(name); why != "" {
		return why
	}
	if visible.Line(name, visible.People) != name {
		return "contain invisible characters"
	}
	return ""
}

// Mistaken returns why people or programs may not recognize a name as a name: it is blank, or
// looks like a key, an id or a group. It returns "" if the name is fine. The text completes the
// sentence "a name can't ...".
func Mistaken(name string) string {
	if Skeleton(name) == "" {
		return "be blank"
	}
	plain := strings.TrimSpace(cases.Fold().String(norm.NFKC.String(name)))
	switch {
	case plain == "*" || strings.HasPrefix(plain, "@") || strings.HasPrefix(plain, "#"):
		return "begin with @ or #, or be *, because those mean groups"
	case isKey(plain, hexDigits) || isKey(Skeleton(name), skeletonDigits) && strings.IndexFunc(plain, notASCII) >= 0:
		return "look like a key"
	}
	return ""
}

const (
	decimals  = "0123456789"
	hexDigits = decimals + "abcdef"
	// skeletonDigits is the skeleton of hexDigits: 0 becomes o and 1 becomes l.
	skeletonDigits = "ol23456789abcdef"
)

// isKey reports whether a text may be a key, the start of a key, or an id.
func isKey(s, digits string) bool {
	if groups := strings.Split(s, "-"); len(groups) == 5 && len(s) == 36 { // a UUID
		s = strings.Join(groups, "")
	}
	switch {
	case strings.Trim(s, digits) != "":
		return false
	case strings.Trim(s, decimals) == "":
		return len(s) >= 16
	}
	return len(s) >= 8
}

func notASCII(r rune) bool { return r > unicode.MaxASCII }
