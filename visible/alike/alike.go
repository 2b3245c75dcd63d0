// Package alike finds names that look alike. It is separate from package visible because it
// links Unicode's large table of confusables (UTS 39), which a hook doesn't need.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package alike

import (
	"strings"
	"unicode"

	"github.com/mtibben/confusables"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/claudemesh/claudemesh/visible"
)

// Skeleton reduces a name to how it looks: names that people may confuse have the same
// skeleton. It drops invisible characters, folds case, width and confusable letters (UTS 39),
// and collapses spaces. Use it only for comparing. The skeleton of an invisible name is "".
func Skeleton(name string) string {
	shown := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || r == '\u2800':
			return ' '
		case !visible.Shows(r):
			return -1
		}
		return r
	}, norm.NFKC.String(name))
	// The table compares letters in one case, but a name may be written in upper or lower
	// case: I looks like l, so i and l must be the same.
	folded := cases.Fold().String(shown)
	folded = cases.Fold().String(confusables.Skeleton(folded))
	folded = strings.ReplaceAll(norm.NFKC.String(folded), "i", "l")
	return strings.Join(strings.Fields(folded), " ")
}
