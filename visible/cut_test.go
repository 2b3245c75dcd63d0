package visible

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		most     int
		size     func(string) int
		want     string
	}{
		{"short", "abc", 3, Bytes, "abc"},
		{"bytes", "abcd", 3, Bytes, "abc"},
		{"within a code point", "aé", 2, Bytes, "a"},
		{"within a letter with marks", "xe\u0301", 2, Bytes, "x"},
		{"within an emoji", "ok 👩‍💻!", 10, Bytes, "ok "},
		{"within a flag", "🇩🇪🇯🇵", 3, Runes, "🇩🇪"},
		{"line break", "a\r\nb", 2, Runes, "a"},
		{"nothing fits", "日", 2, Bytes, ""},
		{"nothing is wanted", "abc", 0, Runes, ""},
		{"one character too long", "a" + strings.Repeat("\u0301", 100), 10, Bytes, "a" + strings.Repeat("\u0301", 4)},
		{"no UTF-8, as JSON writes it", "\xff\xff\xff", 7, Bytes, "\ufffd\ufffd"},
		{"no UTF-8, short", "a\xff", 10, Bytes, "a\ufffd"},
	} {
		if got := Cut(tt.in, tt.most, tt.size); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("👩🏽‍💻e\u0301\r\n日\xff", 7)
	f.Fuzz(func(t *testing.T, s string, most int) {
		for _, size := range []func(string) int{Bytes, Runes} {
			got, valid := Cut(s, most, size), string([]rune(s))
			if most >= 0 && size(got) > most || !utf8.ValidString(got) || !strings.HasPrefix(valid, got) {
				t.Fatalf("%q cut at %d is %q", s, most, got)
			}
			if got == "" || got == valid {
				continue
			}
			ends, first := 0, 0
			for c := graphemes.FromString(valid); c.Next() && ends < len(got); {
				ends += len(c.Value())
				if first == 0 {
					first = ends
				}
			}
			if ends != len(got) && len(got) > first {
				t.Fatalf("%q cut at %d is within a character: %q", s, most, got)
			}
		}
	})
}
