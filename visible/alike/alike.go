// Package alike says which names look alike. It is apart from package visible for the
// size of Unicode's table of confusables (UTS 39), which a hook does without.
package alike

import (
	"strings"
	"unicode"

	"github.com/mtibben/confusables"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/claudemesh/claudemesh/visible"
)

// Skeleton returns what a name looks like: two names that people may take for one
// another have the same. It leaves out what does not show, folds case, width, and the
// letters that Unicode's table of confusables (UTS 39) lists, and makes one space of
// several. It is for comparing only. It is "" for a name that shows nothing.
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
	// The table judges letters as they are written, and a name may be written either
	// way: so I, which looks like l, makes i and l the same.
	folded := cases.Fold().String(shown)
	folded = cases.Fold().String(confusables.Skeleton(folded))
	folded = strings.ReplaceAll(norm.NFKC.String(folded), "i", "l")
	return strings.Join(strings.Fields(folded), " ")
}
