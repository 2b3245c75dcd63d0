// Package termsvg draws what stands on a terminal, as `tmux capture-pane -e -p`
// prints it, as an SVG picture: the README's pictures are made from real runs.
package termsvg

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Pane is one terminal of a picture.
type Pane struct {
	Title   string
	Capture string // lines with SGR sequences (ECMA-48 §8.3.117) and no others
}

// Sizes in pixels, for a font whose characters are 0.6 em wide.
const (
	fontSize   = 13
	cellWidth  = 7.8
	cellHeight = 17
	padding    = 14
	titleBar   = 30
	gap        = 16
)

const (
	background = "#16181d"
	foreground = "#d7dae0"
	titleColor = "#8b93a3"
	barColor   = "#22252c"
)

// Write draws the panes one below the other.
func Write(w io.Writer, panes ...Pane) error {
	drawn := make([][]line, len(panes))
	columns, height := 0, 0
	for i, p := range panes {
		drawn[i] = parse(p.Capture)
		for _, l := range drawn[i] {
			columns = max(columns, l.width)
		}
		height += paneHeight(drawn[i]) + gap
	}
	width := int(float64(columns)*cellWidth) + 2*padding
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d">`+"\n",
		width, height-gap, fontSize)
	top := 0
	for i, p := range panes {
		drawPane(out, p.Title, drawn[i], top, width)
		top += paneHeight(drawn[i]) + gap
	}
	fmt.Fprintln(out, "</svg>")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

func paneHeight(lines []line) int { return titleBar + len(lines)*cellHeight + padding }

func drawPane(out *bufio.Writer, title string, lines []line, top, width int) {
	fmt.Fprintf(out, `<rect y="%d" width="%d" height="%d" rx="8" fill="%s"/>`+"\n", top, width, paneHeight(lines), background)
	fmt.Fprintf(out, `<path d="M0 %d a8 8 0 0 1 8 -8 h%d a8 8 0 0 1 8 8 v%d h-%d z" fill="%s"/>`+"\n", top+8, width-16, titleBar-12, width, barColor)
	fmt.Fprintf(out, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", padding, top+16, titleColor, escape(title))
	for row, l := range lines {
		y := top + titleBar + row*cellHeight
		for _, r := range l.runs {
			drawRun(out, r, y)
		}
	}
}

func drawRun(out *bufio.Writer, r run, y int) {
	fg, bg := r.style.colors()
	x := padding + float64(r.column)*cellWidth
	width := float64(r.width) * cellWidth
	if bg != "" {
		fmt.Fprintf(out, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x, y, width, cellHeight, bg)
	}
	if strings.TrimSpace(r.text) == "" {
		return
	}
	fmt.Fprintf(out, `<text x="%.1f" y="%d" fill="%s" textLength="%.1f" xml:space="preserve"%s>%s</text>`+"\n",
		x, y+cellHeight-5, fg, width, r.style.attributes(), escape(r.text))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

// A line is a row of the terminal, in runs of one style.
type line struct {
	runs  []run
	width int // columns
}

type run struct {
	column, width int
	text          string
	style         style
}

// parse reads a capture. Rows that are empty at the end are left out.
func parse(capture string) []line {
	var lines []line
	var s style
	for row := range strings.Lines(capture) {
		l := line{}
		for text := strings.TrimRight(row, "\r\n"); text != ""; {
			if params, rest, ok := sgr(text); ok {
				s.apply(params)
				text = rest
				continue
			}
			_, size := utf8.DecodeRuneInString(text)
			l.add(text[:size], s)
			text = text[size:]
		}
		lines = append(lines, l)
	}
	for len(lines) > 0 && blank(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func blank(l line) bool {
	for _, r := range l.runs {
		if strings.TrimSpace(r.text) != "" || r.style.bg != "" {
			return false
		}
	}
	return true
}

// add appends a character of one column.
func (l *line) add(char string, s style) {
	if n := len(l.runs); n > 0 && l.runs[n-1].style == s {
		l.runs[n-1].text += char
		l.runs[n-1].width++
	} else {
		l.runs = append(l.runs, run{column: l.width, width: 1, text: char, style: s})
	}
	l.width++
}

// sgr cuts a sequence ESC [ parameters m from the start of text.
func sgr(text string) (params, rest string, ok bool) {
	after, found := strings.CutPrefix(text, "\x1b[")
	if !found {
		return "", text, false
	}
	end := strings.IndexFunc(after, func(r rune) bool { return r >= '@' && r <= '~' })
	if end < 0 || after[end] != 'm' {
		return "", text, false
	}
	return after[:end], after[end+1:], true
}
