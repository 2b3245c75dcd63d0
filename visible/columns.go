package visible

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// Columns returns the width of a text on a terminal, in columns: most letters take one column,
// Chinese and Japanese characters and emoji take two, and marks take none.
func Columns(s string) int { return displaywidth.String(s) }

// Fit cuts a line to at most most columns, which must be at least 1. If it cuts anything off,
// the result ends in an ellipsis.
func Fit(s string, most int) string {
	if Columns(s) <= most {
		return s
	}
	head := Cut(s, most-1, Columns)
	// Don't show a joiner that has nothing left to join.
	return strings.TrimRight(head, " "+string(joiner)+string(nonJoiner)) + "…"
}
