// Package termsvg draws terminal screens as an SVG picture. Its input is the output of
// `tmux capture-pane -e -p`, so the README's pictures come from real runs.
//
// A picture with several scenes shows them one after the other, with CSS animations, which also
// run in an <img>. Viewers without animations, or with reduced motion, show the last scene.
package termsvg

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Pane is one terminal of a picture.
type Pane struct {
	Title   string
	Capture string // lines whose only escape sequences are SGR (ECMA-48 §8.3.117)
}

// Scene is the state of the panes for a while. All scenes of a picture have the same panes; the
// first scene determines their titles.
type Scene struct {
	Panes []Pane
	For   time.Duration // at least a millisecond, if there are several scenes
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

// Write draws the panes one below the other, and the scenes one after the other.
func Write(w io.Writer, scenes ...Scene) error {
	if len(scenes) == 0 {
		return errors.New("write picture: no scenes or no panes")
	}
	panes := make([]drawn, len(scenes[0].Panes))
	for i := range panes {
		panes[i].title = scenes[0].Panes[i].Title
		for _, s := range scenes {
			if len(s.Panes) != len(panes) {
				return errors.New("write picture: scenes have different numbers of panes")
			}
			panes[i].add(parse(s.Panes[i].Capture))
		}
	}
	columns, height := 0, -gap
	for i := range panes {
		columns = max(columns, panes[i].columns)
		height += panes[i].height() + gap
	}
	out := &picture{Writer: bufio.NewWriter(w), width: int(float64(columns)*cellWidth) + 2*padding, film: newFilm(scenes)}
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d">`+"\n",
		out.width, max(height, 0), fontSize)
	out.style(panes)
	top := 0
	for i := range panes {
		out.pane(&panes[i], top)
		top += panes[i].height() + gap
	}
	fmt.Fprintln(out, "</svg>")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

// picture is a picture that is being written.
type picture struct {
	*bufio.Writer
	width int
	film  film
}

// drawn is a pane with the lines of all scenes.
type drawn struct {
	title         string
	scenes        [][]line
	rows, columns int
}

func (p *drawn) add(lines []line) {
	p.scenes = append(p.scenes, lines)
	p.rows = max(p.rows, len(lines))
	for _, l := range lines {
		p.columns = max(p.columns, l.width)
	}
}

func (p *drawn) height() int { return titleBar + p.rows*cellHeight + padding }

// row returns the content of a row in a scene.
func (p *drawn) row(scene, row int) line {
	if row < len(p.scenes[scene]) {
		return p.scenes[scene][row]
	}
	return line{}
}

// shots returns the spans of scenes in which a row doesn't change.
func (p *drawn) shots(row int) (list []shot) {
	from := 0
	for to := 1; to <= len(p.scenes); to++ {
		if to == len(p.scenes) || !reflect.DeepEqual(p.row(from, row), p.row(to, row)) {
			list = append(list, shot{from, to})
			from = to
		}
	}
	return list
}

func (out *picture) pane(p *drawn, top int) {
	fmt.Fprintf(out, `<rect y="%d" width="%d" height="%d" rx="8" fill="%s"/>`+"\n", top, out.width, p.height(), background)
	fmt.Fprintf(out, `<path d="M0 %d a8 8 0 0 1 8 -8 h%d a8 8 0 0 1 8 8 v%d h-%d z" fill="%s"/>`+"\n", top+8, out.width-16, titleBar-12, out.width, barColor)
	fmt.Fprintf(out, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", padding, top+16, titleColor, escape(p.title))
	for row := range p.rows {
		for _, s := range p.shots(row) {
			l := p.row(s.from, row)
			if blank(l) {
				continue
			}
			always := s == shot{0, len(p.scenes)}
			if !always {
				fmt.Fprintf(out, `<g class="%s">`+"\n", s.class())
			}
			for _, r := range l.runs {
				drawRun(out, r, top+titleBar+row*cellHeight)
			}
			if !always {
				fmt.Fprintln(out, "</g>")
			}
		}
	}
}

func drawRun(out io.Writer, r run, y int) {
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
	_ = xml.EscapeText(&b, []byte(s)) // writing to a Builder can't fail
	return b.String()
}

// A line is a row of the terminal: a list of runs, each with one style.
type line struct {
	runs  []run
	width int // in columns
}

type run struct {
	column, width int
	text          string
	style         style
}

// parse reads a capture. It drops empty rows at the end.
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
		l.trim()
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

// trim removes invisible spaces at the end, which depend on how programs redraw the screen.
func (l *line) trim() {
	for n := len(l.runs); n > 0; n-- {
		last := &l.runs[n-1]
		if s := last.style; s.bg != "" || s.reverse || s.underline {
			return
		}
		text := strings.TrimRight(last.text, " ")
		gone := len(last.text) - len(text)
		last.text, last.width, l.width = text, last.width-gone, l.width-gone
		if text != "" {
			return
		}
		l.runs = l.runs[:n-1]
	}
}

// sgr splits a sequence ESC [ parameters m from the start of text.
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
