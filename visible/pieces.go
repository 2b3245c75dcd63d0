package visible

import (
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"golang.org/x/text/unicode/norm"
)

// Reader is the kind of reader that sees a text.
type Reader int

const (
	// People see a flag where a model reads the invisible tags that spell it.
	People Reader = iota
	// Model reads code points, and may obey those that people can't see.
	Model
)

// Piece is a part of a text, and how it is shown.
type Piece struct{ Text, Shown string }

const (
	nonJoiner    = '\u200c'
	joiner       = '\u200d'
	textVariant  = '\ufe0e'
	emojiVariant = '\ufe0f'
	keycap       = '\u20e3'
	blackFlag    = '\U0001f3f4'

	// maxMarks is the maximum number of marks on one character. Living languages need fewer;
	// more would cover the lines above and below.
	maxMarks = 8
	// maxJoints is the maximum number of joiners in an emoji. A family of four has three.
	maxJoints = 3
)

// regions lists the tags that, after a black flag, make the flag of a region. No system shows a
// flag for other tags, and they could spell a text.
var regions = []string{tags("gbeng"), tags("gbsct"), tags("gbwls")}

func tags(s string) string {
	return strings.Map(func(r rune) rune { return 0xe0000 + r }, s) + "\U000e007f"
}

// blanks lists code points that are invisible although Unicode's properties don't say so: an
// empty Braille cell, Egyptian blanks, a Khitan filler, a note without a head.
var blanks = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x13441, Hi: 0x13442, Stride: 1}, {Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, {Lo: 0x1d159, Hi: 0x1d159, Stride: 1}},
}

// joining lists the scripts in which neighboring letters join unless a non-joiner separates
// them.
var joining = []*unicode.RangeTable{unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Adlam}

// Shows reports whether a code point is always visible: it is a letter, mark, digit,
// punctuation, symbol or U+0020, and not ignorable.
func Shows(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, blanks)
}

// Pieces splits a text into pieces that are shown as they are and pieces that are shown by
// their numbers. Line feeds and tabs are separate pieces and stay; a carriage return with a
// line feed becomes a line feed. A space other than U+0020 becomes U+0020 between two
// characters, and is shown by its number elsewhere. An invalid byte is shown as \xFF.
func Pieces(s string, to Reader) iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		c := scanner{to: to}
		for s != "" {
			p := c.next(s)
			if !yield(p) {
				return
			}
			s = s[len(p.Text):]
		}
	}
}

// scanner remembers the context of the next code point.
type scanner struct {
	to     Reader
	last   rune // the previous code point, if it is shown as it is; else 0
	base   rune // the character that last is a part of; 0 if there is none
	marks  int  // number of marks on base
	joints int  // number of joiners in the emoji that base is a part of
}

// next returns the piece at the start of a text that is not empty.
func (c *scanner) next(s string) Piece {
	r, size := utf8.DecodeRuneInString(s)
	rest := s[size:]
	switch {
	case r == '\n' || r == '\t':
		*c = scanner{to: c.to}
		return Piece{s[:size], s[:size]}
	case r == '\r' && strings.HasPrefix(rest, "\n"):
		*c = scanner{to: c.to}
		return Piece{"\r\n", "\n"}
	case c.to == People && c.last == blackFlag:
		for _, region := range regions {
			if strings.HasPrefix(s, region) {
				*c = scanner{to: c.to}
				return Piece{region, region}
			}
		}
	}
	following, _ := utf8.DecodeRuneInString(rest)
	switch {
	case r == utf8.RuneError && size == 1:
	case r != ' ' && unicode.Is(unicode.Zs, r):
		if alone := c.last != 0 && c.last != ' ' && following != ' ' && Shows(following) && rest != ""; alone {
			c.follow(' ')
			return Piece{s[:size], " "}
		}
	case c.stays(r, following):
		c.follow(r)
		return Piece{s[:size], s[:size]}
	}
	*c = scanner{to: c.to}
	if r == utf8.RuneError && size == 1 {
		return Piece{s[:1], fmt.Sprintf(`\x%02X`, s[0])}
	}
	return Piece{s[:size], fmt.Sprintf(`\u{%X}`, r)}
}

// stays reports whether a code point is shown as it is in its context.
func (c *scanner) stays(r, following rune) bool {
	switch {
	case r == textVariant || r == emojiVariant:
		if '0' <= c.last && c.last <= '9' || c.last == '#' || c.last == '*' {
			return r == emojiVariant && following == keycap
		}
		return c.last == c.base && isEmoji(c.base)
	case r == joiner && isEmoji(c.base):
		return c.last != joiner && c.joints < maxJoints && Shows(following) && isEmoji(following)
	case r == joiner:
		return isVirama(c.last) || unicode.IsLetter(c.last) && isVirama(following)
	case r == nonJoiner:
		return isVirama(c.last) || c.last != nonJoiner && c.last != joiner && areJoined(c.base, following)
	case unicode.IsMark(r):
		return Shows(r) && c.base != 0 && c.base != ' ' && c.marks < maxMarks
	}
	return Shows(r)
}

// follow updates the context after a code point that is shown as it is.
func (c *scanner) follow(r rune) {
	switch {
	case r == joiner && isEmoji(c.base):
		c.joints++
	case r == joiner || r == nonJoiner || r == textVariant || r == emojiVariant:
	case unicode.IsMark(r):
		c.marks++
	case isModifier(r) && c.last == c.base && isEmoji(c.base): // a skin tone
	default:
		if c.last != joiner {
			c.joints = 0
		}
		c.base, c.marks = r, 0
	}
	c.last = r
}

// isEmoji reports whether a code point is Extended_Pictographic. The rules for grapheme
// clusters join exactly these with each other.
func isEmoji(r rune) bool {
	if r < 0xa9 { // the first one is U+00A9
		return false
	}
	pair := string(r) + string(joiner) + "\u231a"
	cluster := graphemes.FromString(pair)
	return cluster.Next() && len(cluster.Value()) == len(pair) && !unicode.IsMark(r)
}

func isModifier(r rune) bool { return 0x1f3fb <= r && r <= 0x1f3ff }

// isVirama reports whether a mark suppresses the vowel of a consonant. After it, the shape of
// the next letter depends on a joiner.
func isVirama(r rune) bool {
	const virama = 9 // the combining class
	return unicode.IsMark(r) && norm.NFC.PropertiesString(string(r)).CCC() == virama
}

// areJoined reports whether two letters are of the same script and would join.
func areJoined(a, b rune) bool {
	for _, script := range joining {
		if unicode.Is(script, a) && unicode.Is(script, b) {
			return unicode.IsLetter(a) && unicode.IsLetter(b)
		}
	}
	return false
}
