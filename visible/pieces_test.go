package visible

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	t.Parallel()
	hidden := func(s string) string { // by number, each
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, `\u{%X}`, r)
		}
		return b.String()
	}
	scotland := "\U0001f3f4" + tags("gbsct")
	for _, tt := range []struct{ name, in, people, model string }{
		{"plain", "hello, world", "hello, world", ""},
		{"lines", "a\r\n\tb\nc", "a\n\tb\nc", ""},
		{"carriage return", "safe\rrm", `safe\u{D}rm`, ""},
		{"C0", "\x1b[2J\x00\x7f", `\u{1B}[2J\u{0}\u{7F}`, ""},
		{"C1", "\u009b31m\u0085", `\u{9B}31m\u{85}`, ""},
		{"no UTF-8", "a\xc0\xff", `a\xC0\xFF`, ""},
		{"surrogate", "\xed\xa0\xbd", `\xED\xA0\xBD`, ""},
		{"replacement character", "a\ufffdb", "a\ufffdb", ""},
		{"bidi", "\u202eabc\u2066\u061c\u200f", `\u{202E}abc\u{2066}\u{61C}\u{200F}`, ""},
		{"zero width", "a\u200bb\u2060c\ufeffd\u00ade", `a\u{200B}b\u{2060}c\u{FEFF}d\u{AD}e`, ""},
		{"line separators", "a\u2028b\u2029", `a\u{2028}b\u{2029}`, ""},
		{"default ignorable letters", "a\u3164\u115f\u1160\uffa0b\u034f\u17b4", `a\u{3164}\u{115F}\u{1160}\u{FFA0}b\u{34F}\u{17B4}`, ""},
		{"blanks", "a\u2800b\U0001d159", `a\u{2800}b\u{1D159}`, ""},
		{"private and unassigned", "\ue000\U000f0000\U0010ffff\u0378\ufdd0", `\u{E000}\u{F0000}\u{10FFFF}\u{378}\u{FDD0}`, ""},
		{"variation selectors", "b\ufe0f\ufe00\U000e0101", "b" + hidden("\ufe0f\ufe00\U000e0101"), ""},
		{"tags", "x" + tags("obey"), "x" + hidden(tags("obey")), ""},
		{"tags of no flag", "\U0001f3f4" + tags("usca"), "\U0001f3f4" + hidden(tags("usca")), ""},
		{"flag of a part", scotland, scotland, "\U0001f3f4" + hidden(tags("gbsct"))},
		{"two flags", scotland + tags("gbsct"), scotland + hidden(tags("gbsct")), "\U0001f3f4" + hidden(tags("gbsct")+tags("gbsct"))},
		{"flag of a country", "🇩🇪🇯🇵", "🇩🇪🇯🇵", ""},
		{"emoji", "❤️ ☎︎ ©️ 1️⃣ #️⃣ 👍🏽", "❤️ ☎︎ ©️ 1️⃣ #️⃣ 👍🏽", ""},
		{"joined emoji", "👩🏽‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 👩‍❤️‍💋‍👩 🧔🏻‍♂️", "👩🏽‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 👩‍❤️‍💋‍👩 🧔🏻‍♂️", ""},
		{"two selectors", "❤\ufe0f\ufe0f\ufe0e", "❤\ufe0f" + hidden("\ufe0f\ufe0e"), ""},
		{"two joiners", "👩\u200d\u200d💻", "👩" + hidden("\u200d\u200d") + "💻", ""},
		{"a joiner that joins nothing", "👩\u200d x\u200dy \u200d", "👩" + hidden("\u200d") + " x" + hidden("\u200d") + "y " + hidden("\u200d"), ""},
		{"a chain", strings.Repeat("👩\u200d", 6) + "👩", strings.Repeat("👩\u200d", 3) + "👩" + hidden("\u200d") + "👩\u200d👩\u200d👩", ""},
		{"selector of a digit", "1\ufe0f2\ufe0f", "1" + hidden("\ufe0f") + "2" + hidden("\ufe0f"), ""},
		{"persian", "می‌خواهم", "می‌خواهم", ""},
		{"devanagari", "क्‍ष नमस्ते", "क्‍ष नमस्ते", ""},
		{"non-joiner in Latin", "a\u200cb", `a\u{200C}b`, ""},
		{"non-joiners", "ی\u200c\u200cخ", "ی" + hidden("\u200c\u200c") + "خ", ""},
		{"spaces", "Qui\u00a0? 日本\u3000語", "Qui ? 日本 語", ""},
		{"spaces in a row", "a\u00a0\u2003b \u00a0c\u00a0", `a\u{A0}\u{2003}b \u{A0}c\u{A0}`, ""},
		{"marks", "e\u0301 ֹשָׁ", "e\u0301 " + hidden("\u05b9") + "שָׁ", ""},
		{"a stack of marks", "a" + strings.Repeat("\u0301", 10), "a" + strings.Repeat("\u0301", 8) + hidden("\u0301\u0301"), ""},
		{"Arabic number sign", "\u0600", `\u{600}`, ""},
	} {
		if tt.model == "" {
			tt.model = tt.people
		}
		if got := Text(tt.in, People); got != tt.people {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.people)
		}
		if got := Text(tt.in, Model); got != tt.model {
			t.Errorf("%s, for a model: got %q, want %q", tt.name, got, tt.model)
		}
	}
	if got := Line("a\n\tb\r\nc\x07", People); got != `a\n b\nc\u{7}` {
		t.Errorf("on one line: %q", got)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {" a\n\t b\u00a0c ", 9, "a b c"}, {"abc\u200b", 9, "abc…"}, {"abc\u200b", 11, `abc\u{200B}`},
		{"e\u0301e\u0301", 3, "e\u0301…"}, {"👩‍💻👩‍💻", 5, "👩‍💻…"}, {"👩‍💻", 2, "👩…"}, {"ی\u200cخ", 2, "ی…"}, {"", 0, ""}, {"\xff", 4, "\ufffd"}, {"ab c", 3, "ab…"},
	} {
		if got := Short(tt.in, People, tt.most); got != tt.want {
			t.Errorf("%q in %d: got %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func TestJSONEscapes(t *testing.T) {
	t.Parallel()
	in := "a\u009b31m\u200b\U000e0041\u00a0x👩‍💻<\n\x00"
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.NewReplacer(`\u003c`, "<").Replace(string(b)))
	if got, want := string(JSON(b)), `"a\u009b31m\u200b\udb40\udc41\u00a0x👩‍💻<\n\u0000"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// nothingHidden fails the test if a text contains hidden code points. It checks their Unicode
// properties, and the neighbors of each invisible code point.
func nothingHidden(t *testing.T, s string, to Reader) {
	t.Helper()
	if !utf8.ValidString(s) {
		t.Fatalf("not UTF-8: %q", s)
	}
	runes := []rune(s)
	at := func(i int) rune {
		if i < 0 || i >= len(runes) {
			return 0
		}
		return runes[i]
	}
	ignorable := func(r rune) bool {
		return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	}
	for i, r := range runes {
		switch {
		case r == '\n' || r == '\t':
		case r == '\u2800' || unicode.In(r, unicode.Cc, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Noncharacter_Code_Point):
			t.Fatalf("%U is in %q", r, s)
		case unicode.Is(unicode.Zs, r) && r != ' ':
			t.Fatalf("%U is in %q", r, s)
		case unicode.Is(unicode.M, r) && at(i-1) <= ' ':
			t.Fatalf("the mark %U at %d of %q follows no base character", r, i, s)
		case !ignorable(r):
			if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Zs) {
				t.Fatalf("%U is unassigned and in %q", r, s)
			}
		case to == People && (strings.Contains(string(runes[max(0, i-6):i+1]), "\U0001f3f4")): // a region's tags
		case r == joiner || r == nonJoiner:
			if ignorable(at(i-1)) && at(i-1) != emojiVariant && at(i-1) != textVariant || at(i-1) <= ' ' || ignorable(at(i+1)) {
				t.Fatalf("%U at %d of %q is out of place", r, i, s)
			}
		case r == emojiVariant || r == textVariant:
			if ignorable(at(i-1)) || at(i-1) <= ' ' || ignorable(at(i+1)) && at(i+1) != joiner {
				t.Fatalf("%U at %d of %q is out of place", r, i, s)
			}
		default:
			t.Fatalf("%U is in %q", r, s)
		}
	}
}

// FuzzOutlets checks that every function applies the rule to any input, and is idempotent.
func FuzzOutlets(f *testing.F) {
	for _, s := range []string{
		"hello", "\x1b[2J\u009b\u200b\ufe0f", "👩🏽‍💻❤️🏴" + tags("gbeng"), "می‌خواهم क्‍ष", "a\u00a0\u0301\u2800\xff\r\n", "1\ufe0f\u20e3\ufe0f", "\u200d👩\u200d\u200c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, to := range []Reader{People, Model} {
			text := Text(s, to)
			nothingHidden(t, text, to)
			if again := Text(text, to); again != text {
				t.Fatalf("%q becomes %q, then %q", s, text, again)
			}
			line := Line(s, to)
			nothingHidden(t, line, to)
			if strings.ContainsAny(line, "\n\t") {
				t.Fatalf("not on one line: %q", line)
			}
			short := Short(s, to, 9)
			nothingHidden(t, short, to)
			if n := utf8.RuneCountInString(short); n > 10 {
				t.Fatalf("%q has %d characters", short, n)
			}
			whole := ""
			for p := range Pieces(s, to) {
				whole += p.Text
			}
			if whole != s {
				t.Fatalf("the pieces of %q are %q", s, whole)
			}
		}
		plain, err := json.MarshalIndent(map[string]string{s: s}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		escaped := JSON(plain)
		nothingHidden(t, string(escaped), People)
		var before, after any
		if json.Unmarshal(plain, &before) != nil || json.Unmarshal(escaped, &after) != nil || fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("%s is not the same as %s", escaped, plain)
		}
	})
}
