package alike

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/claudemesh/claudemesh/visible"
)

// NoNewName returns why nobody may take a name anew: it is Mistaken for something, or has
// characters that don't show. It is "" for a good one. It ends the sentence "a name can't ...".
func NoNewName(name string) string {
	if why := Mistaken(name); why != "" {
		return why
	}
	if visible.Line(name, visible.People) != name {
		return "have characters that don't show"
	}
	return ""
}

// Mistaken returns what people or programs may take a name for that is no name: a key,
// the start of one or an id; whom a message to many is for; nothing at all. It is "" for
// a name that is one. It ends the sentence "a name can't ...".
func Mistaken(name string) string {
	if Skeleton(name) == "" {
		return "be blank"
	}
	plain := strings.TrimSpace(cases.Fold().String(norm.NFKC.String(name)))
	switch {
	case plain == "*" || strings.HasPrefix(plain, "@") || strings.HasPrefix(plain, "#"):
		return "begin with @ or #, or be *, since that means a group"
	case isKey(plain, hexDigits) || isKey(Skeleton(name), skeletonDigits) && strings.IndexFunc(plain, notASCII) >= 0:
		return "look like a key"
	}
	return ""
}

const (
	decimals  = "0123456789"
	hexDigits = decimals + "abcdef"
	// skeletonDigits are what Skeleton makes of hexDigits: 0 is o and 1 is l.
	skeletonDigits = "ol23456789abcdef"
)

// isKey reports whether a text may be a key, the start of one, or an id.
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
