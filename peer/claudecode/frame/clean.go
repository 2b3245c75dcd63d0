package frame

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Characters that show nothing but join their neighbours, as emoji and some
// scripts need them.
const (
	nonJoiner    = '\u200c'
	joiner       = '\u200d'
	textVariant  = '\ufe0e'
	emojiVariant = '\ufe0f'
)

func joins(r rune) bool {
	return r == nonJoiner || r == joiner || r == textVariant || r == emojiVariant
}

// cleaner makes text of others harmless, a rune at a time.
type cleaner struct{ before rune } // the rune before; 0: none

// next returns what stands for r: r itself if it is seen as it is.
func (c *cleaner) next(r rune) string {
	before := c.before
	c.before = r
	switch {
	case r == '\n' || r == '\t':
		return string(r)
	case r < ' ':
		return string('\u2400' + r) // ␀ to ␟
	case r == '\x7f':
		return "␡"
	case joins(r):
		// A series of them could spell a text that only a model reads.
		if seen(before) && before != ' ' || before == emojiVariant && r == joiner {
			return string(r)
		}
	case seen(r):
		return string(r)
	}
	return fmt.Sprintf("[U+%04X]", r)
}

// seen reports whether a rune shows itself, or is a space. A joiner does not.
func seen(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// inText and inQuotes write what could end a text or an attribute as entities.
var (
	inText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	inQuotes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
)

// body returns the start of a text, cleaned and escaped, of at most limit
// characters, and how many characters of the text that is.
func body(text string, limit int) (escaped string, taken int) {
	var b strings.Builder
	var c cleaner
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		runes := 1
		if r == '\r' && strings.HasPrefix(text[i+size:], "\n") {
			r, size, runes = '\n', 2, 2 // a line break as others write it
		}
		piece := inText.Replace(c.next(r))
		if limit -= utf8.RuneCountInString(piece); limit < 0 {
			break
		}
		b.WriteString(piece)
		i += size
		taken += runes
	}
	return b.String(), taken
}

// value returns a text as an attribute's value: cleaned and escaped, on one line,
// with single spaces, of at most limit characters before escaping.
func value(text string, limit int) string {
	var b strings.Builder
	var c cleaner
	room := limit
	// What is left out would not fit anyway, whatever it is: a megabyte is not walked.
	for i, r := range text {
		if i > 64*limit {
			break
		}
		if unicode.IsSpace(r) {
			r = ' '
		}
		if r == ' ' && (c.before == ' ' || c.before == 0) {
			continue
		}
		piece := c.next(r)
		if room -= utf8.RuneCountInString(piece); room < 0 {
			return inQuotes.Replace(strings.TrimSuffix(b.String(), " ")) + "…"
		}
		b.WriteString(piece)
	}
	return inQuotes.Replace(strings.TrimSuffix(b.String(), " "))
}
