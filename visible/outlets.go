package visible

import (
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// Text makes a text safe to show; see Pieces.
func Text(s string, to Reader) string { return show(s, to, asIs) }

// Line is Text on one line: it writes a line feed as \n and a tab as a space.
func Line(s string, to Reader) string { return show(s, to, onLine) }

func asIs(shown string) string { return shown }

func onLine(shown string) string {
	switch shown {
	case "\n":
		return `\n`
	case "\t":
		return " "
	}
	return shown
}

func show(s string, to Reader, write func(shown string) string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for p := range Pieces(s, to) {
		b.WriteString(write(p.Shown))
	}
	return b.String()
}

// Short makes a text safe to show on one line with single spaces, cut to most code points. If
// it cuts anything off, it adds an ellipsis.
func Short(s string, to Reader, most int) string {
	// Cut a long text first, so as not to scan a megabyte for a few characters.
	s = strings.Join(strings.Fields(Cut(s, 64*most, Bytes)), " ")
	head, taken := Head(s, to, most, onLine)
	if taken < len(s) {
		head = strings.TrimSuffix(head, " ") + "…"
	}
	return head
}

// Head makes the start of a text safe to show, and returns how many bytes of the text that
// covers. write rewrites each piece for its context, for example by escaping. Head cuts like
// Cut, so that the rewritten pieces have at most most code points.
func Head(s string, to Reader, most int, write func(shown string) string) (head string, taken int) {
	var b strings.Builder
	clusters := graphemes.FromString(s)
	at, clusterEnd, end := 0, 0, 0
	for p := range Pieces(s, to) {
		shown := write(p.Shown)
		if most -= utf8.RuneCountInString(shown); most < 0 {
			if taken == 0 {
				end, taken = b.Len(), at
			}
			return strings.TrimRight(b.String()[:end], string(joiner)+string(nonJoiner)), taken
		}
		b.WriteString(shown)
		at += len(p.Text)
		for clusterEnd < at && clusters.Next() {
			clusterEnd += len(clusters.Value())
		}
		if clusterEnd == at {
			end, taken = b.Len(), at
		}
	}
	return b.String(), len(s)
}

// isPlain reports whether a text is ASCII without control characters. Most texts are.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Writer returns a writer, for example for a log, that applies Text to each write. Each write
// must consist of whole lines.
func Writer(w io.Writer) io.Writer { return lines{w} }

type lines struct{ to io.Writer }

func (l lines) Write(b []byte) (int, error) {
	if _, err := io.WriteString(l.to, Text(string(b), People)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// JSON escapes everything in a JSON text that isn't safe to show, for example as \u200b. The
// values of the JSON text stay the same.
func JSON(b []byte) []byte {
	s := string(b)
	if isPlain(strings.ReplaceAll(s, "\n", "")) {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	for p := range Pieces(s, People) {
		if p.Shown == p.Text || p.Shown == "\n" {
			out = append(out, p.Text...)
			continue
		}
		for _, r := range p.Text {
			out = appendEscaped(out, r)
		}
	}
	return out
}

// appendEscaped appends a code point as a JSON escape.
func appendEscaped(b []byte, r rune) []byte {
	if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
		return appendUnit(appendUnit(b, high), low)
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
