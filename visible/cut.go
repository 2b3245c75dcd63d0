package visible

import (
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// Bytes measures a text in bytes.
func Bytes(s string) int { return len(s) }

// Runes measures a text in code points.
func Runes(s string) int { return utf8.RuneCountInString(s) }

// Cut returns the start of a text, cut to at most most units. size counts the units of a text;
// Bytes and Runes do. Cut doesn't split a character as people see it, such as an emoji or a
// letter with its marks. Only if the first character alone is too long, Cut splits it between
// two code points. An invalid byte becomes U+FFFD, as in JSON, and counts as such.
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
