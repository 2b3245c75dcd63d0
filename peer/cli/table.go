package cli

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/claudemesh/claudemesh/visible"
)

const (
	// columnGap is the number of spaces between two columns of a table.
	columnGap = 2
	// minColumn is the width to which a column can shrink, in columns of the terminal.
	minColumn = 8
)

// columnsOf returns the width of the terminal in columns, or 0 if it is unknown.
func columnsOf(terminal *os.File) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	width, _, err := term.GetSize(int(terminal.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// table prints rows in columns; the first row is the header. On a terminal, it cuts long
// cells so that each row fits on a line. Columns whose header is in whole are cut last:
// people copy their cells.
func (a *app) table(rows [][]string, whole ...string) error {
	for _, line := range a.tableLines(rows, whole) {
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) tableLines(rows [][]string, whole []string) []string {
	if len(rows) == 0 {
		return nil
	}
	shown := make([][]string, len(rows))
	var widths []int
	for i, row := range rows {
		shown[i] = make([]string, len(row))
		for j, cell := range row {
			shown[i][j] = strings.TrimRight(oneLine(cell), " ")
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], visible.Columns(shown[i][j]))
		}
	}
	if a.columns > 0 {
		fitColumns(widths, a.columns, func(j int) bool { return j < len(rows[0]) && slices.Contains(whole, rows[0][j]) })
	}
	lines := make([]string, len(shown))
	for i, row := range shown {
		lines[i] = a.tableLine(row, widths, func(j int, text string) string {
			if i == 0 {
				return a.paint(bold, text)
			}
			return a.tint(rows[0][min(j, len(rows[0])-1)], rows[i][j], text)
		})
	}
	return lines
}

// tableLine formats a row. It writes the padding before the next cell, so that no line ends
// in spaces.
func (a *app) tableLine(row []string, widths []int, paint func(j int, text string) string) string {
	var b strings.Builder
	pad, used := 0, 0
	for j, cell := range row {
		most := widths[j]
		if a.columns > 0 {
			most = min(most, a.columns-used-pad)
		}
		if cell != "" && most > 0 {
			cell = visible.Fit(cell, most)
			b.WriteString(strings.Repeat(" ", pad))
			b.WriteString(paint(j, cell))
			used += pad + visible.Columns(cell)
			pad = widths[j] - visible.Columns(cell) + columnGap
		} else {
			pad += widths[j] + columnGap
		}
	}
	return b.String()
}

// fitColumns narrows the widest columns until a line fits, or until no column can shrink.
func fitColumns(widths []int, room int, whole func(j int) bool) {
	room -= columnGap * (len(widths) - 1)
	capped := func(j, most int) int {
		if whole(j) {
			return widths[j]
		}
		return min(widths[j], max(most, minColumn))
	}
	sum := func(most int) (n int) {
		for j := range widths {
			n += capped(j, most)
		}
		return n
	}
	most := slices.Max(widths)
	for most > minColumn && sum(most) > room {
		most--
	}
	rest := room - sum(most)
	for j, natural := range slices.Clone(widths) {
		widths[j] = capped(j, most)
		if widths[j] < natural && rest > 0 {
			widths[j]++
			rest--
		}
	}
}

// tint colors a cell by its first word, in the columns of tints.
func (a *app) tint(head, cell, text string) string {
	word := strings.FieldsFunc(cell+" ", func(r rune) bool { return strings.ContainsRune(" ,:(", r) })
	if len(word) == 0 {
		return text
	}
	if sgr := tints[head][word[0]]; sgr != "" {
		return a.paint(sgr, text)
	}
	return text
}

// tints maps the header of a column and a word to a color.
var tints = map[string]map[string]string{
	"STATUS":     {"idle": green, "working": yellow, "dnd": red, "away": dim, "delivered": green},
	"TRUST":      {"compared": green, "NO": red},
	"ROLE":       {"removed": dim, "banned": red},
	"YOU ALLOW":  {"blocked": red},
	"STATE":      {"revoked": dim, "expired": dim, "used": dim, "valid": green},
	"CONNECTION": {"connected": green, "not": red, "conflict": red, "connecting": yellow},
	"LAST USED":  {"live": green},
}
