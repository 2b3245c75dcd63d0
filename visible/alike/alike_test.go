package alike

import (
	"strings"
	"testing"
)

func TestSkeleton(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"bob", "BOB", "Bob", "b\u043eb", "bob\ufe0f", "\u200bbo\u00adb", "ｂｏｂ", "𝐛𝐨𝐛", " bob ", "bob\u2800", "ｂ0b", "ⓑⓞⓑ", "\u202ebob"},
		{"Straße", "STRASSE"},
		{"admin bot", "admin  bot", "admin\u00a0bot"},
		{"Alice", "AIice", "A1ice", "Аlice"},
		{"", "\u200b", " ", "\u3164", "\ufe0f"},
	} {
		for _, name := range same {
			if got, want := Skeleton(name), Skeleton(same[0]); got != want {
				t.Errorf("%q looks like %q, not like %q, which is %q", name, got, same[0], want)
			}
		}
	}
	for _, pair := range [][2]string{{"bob", "rob"}, {"bob", "bob2"}, {"e\u0301ric", "eric"}, {"日本", "日木"}, {"anna", "ann a"}} {
		if Skeleton(pair[0]) == Skeleton(pair[1]) {
			t.Errorf("%q and %q are the same: %q", pair[0], pair[1], Skeleton(pair[0]))
		}
	}
}

func FuzzSkeleton(f *testing.F) {
	f.Add("b\u043eB\ufe0f ﬁ ß İ")
	f.Fuzz(func(t *testing.T, s string) {
		got := Skeleton(s)
		if hidden := Skeleton("\u200b" + s + "\ufe0f "); hidden != got {
			t.Fatalf("%q looks like %q; with what does not show, like %q", s, got, hidden)
		}
		if upper := Skeleton(strings.ToLower(strings.ToUpper(s))); isASCII(s) && upper != got {
			t.Fatalf("%q looks like %q; in another case, like %q", s, got, upper)
		}
	})
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
