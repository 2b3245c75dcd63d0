package visible

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// Columns measures a text in the columns that it takes on a terminal: most letters take
// one, those of Chinese or Japanese and emoji take two, marks take none.
func Columns(s string) int { return displaywidth.String(s) }

// Fit returns a text that is on one line and may be shown in at most so many columns, and
// at least 1. If that is not all of the text, it ends in an ellipsis.
func Fit(s string, most int) string {
	if Columns(s) <= most {
		return s
	}
	head := Cut(s, most-1, Columns)
	// A joiner with nothing to join is not to be shown.
	return strings.TrimRight(head, " "+string(joiner)+string(nonJoiner)) + "…"
}
