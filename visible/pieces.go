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

// Reader is whom a text is shown to.
type Reader int

const (
	// People see a flag where a model reads the tags that it is spelled with.
	People Reader = iota
	// Model reads code points, and may obey those that nobody sees.
	Model
)

// Piece is a part of a text, and what stands for it where the text is shown.
type Piece struct{ Text, Shown string }

const (
	nonJoiner    = '\u200c'
	joiner       = '\u200d'
	textVariant  = '\ufe0e'
	emojiVariant = '\ufe0f'
	keycap       = '\u20e3'
	blackFlag    = '\U0001f3f4'

	// maxMarks is how many marks one character may carry. Living languages need
	// fewer; more cover the lines around them.
	maxMarks = 8
	// maxJoints is how many joiners an emoji may have: a family of four has three.
	maxJoints = 3
)

// regions are the tags after a black flag that make the flag of a part of a country.
// Other tags make none on any system, and could spell a text.
var regions = []string{tags("gbeng"), tags("gbsct"), tags("gbwls")}

func tags(s string) string {
	return strings.Map(func(r rune) rune { return 0xe0000 + r }, s) + "\U000e007f"
}

// blanks show nothing although no property of theirs says so: an empty Braille cell,
// Egyptian blanks, a Khitan filler, a note without a head.
var blanks = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x13441, Hi: 0x13442, Stride: 1}, {Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, {Lo: 0x1d159, Hi: 0x1d159, Stride: 1}},
}

// joining are the scripts in which neighbours join unless a non-joiner parts them.
var joining = []*unicode.RangeTable{unicode.Arabic, unicode.Syriac, unicode.Nko, unicode.Mongolian, unicode.Adlam}

// Shows reports whether a code point shows itself wherever it stands: it is a letter, a
// mark, a digit, punctuation or a symbol, or U+0020, and not ignorable.
func Shows(r rune) bool {
	return unicode.IsPrint(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, blanks)
}

// Pieces splits a text into what is shown as it is and what is shown by its number.
// Line feeds and tabs are pieces of their own and stay; so does a carriage return
// with a line feed, as a line feed. A space other than U+0020 is shown as one between
// two characters, and elsewhere by its number. A byte that is no UTF-8 is shown as \xFF.
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

// scanner remembers what the next code point follows.
type scanner struct {
	to     Reader
	last   rune // the code point before, if it is shown as it is; 0: none
	base   rune // the character that it is a part of; 0: none
	marks  int  // on base
	joints int  // of the emoji that base is a part of
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

// stays reports whether a code point is shown as it is, between those around it.
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

// follow goes on after a code point that is shown as it is.
func (c *scanner) follow(r rune) {
	switch {
	case r == joiner && isEmoji(c.base):
		c.joints++
	case r == joiner || r == nonJoiner || r == textVariant || r == emojiVariant:
	case unicode.IsMark(r):
		c.marks++
	case isModifier(r) && c.last == c.base && isEmoji(c.base): // a colour of skin
	default:
		if c.last != joiner {
			c.joints = 0
		}
		c.base, c.marks = r, 0
	}
	c.last = r
}

// isEmoji reports whether a code point is Extended_Pictographic: the rules for
// clusters join exactly these to one another.
func isEmoji(r rune) bool {
	if r < 0xa9 { // the first that is
		return false
	}
	pair := string(r) + string(joiner) + "\u231a"
	cluster := graphemes.FromString(pair)
	return cluster.Next() && len(cluster.Value()) == len(pair) && !unicode.IsMark(r)
}

func isModifier(r rune) bool { return 0x1f3fb <= r && r <= 0x1f3ff }

// isVirama reports whether a mark takes a consonant its vowel, so that the shape of
// the next one depends on a joiner.
func isVirama(r rune) bool {
	const virama = 9 // the combining class
	return unicode.IsMark(r) && norm.NFC.PropertiesString(string(r)).CCC() == virama
}

// areJoined reports whether two letters of one script would join.
func areJoined(a, b rune) bool {
	for _, script := range joining {
		if unicode.Is(script, a) && unicode.Is(script, b) {
			return unicode.IsLetter(a) && unicode.IsLetter(b)
		}
	}
	return false
}
