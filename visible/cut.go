package visible

import (
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// Bytes measures a text in bytes.
func Bytes(s string) int { return len(s) }

// Runes measures a text in code points.
func Runes(s string) int { return utf8.RuneCountInString(s) }

// Cut returns the start of a text, of at most so many units as size counts, such as
// Bytes or Runes. It ends between two characters as people count them: an emoji, or a
// letter with its marks, is whole or not there. If the first one alone is too long, the
// cut is within it, between two code points. A byte that is no UTF-8 comes back as
// U+FFFD and counts as that, since that is what JSON makes of it.
func Cut(s string, most int, size func(string) int) string {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if size(s) <= most {
		return s
	}
	end, room := 0, most
	for c := graphemes.FromString(s); c.Next(); {
		if room -= size(c.Value()); room < 0 {
			break
		}
		end += len(c.Value())
	}
	if end > 0 {
		return s[:end]
	}
	for room = most; ; {
		_, n := utf8.DecodeRuneInString(s[end:])
		if room -= size(s[end : end+n]); room < 0 || n == 0 {
			return s[:end]
		}
		end += n
	}
}
