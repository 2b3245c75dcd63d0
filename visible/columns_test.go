package visible

import (
	"strings"
	"testing"
)

func TestFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"abcd", 1, "…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"👩‍💻👩‍💻", 4, "👩‍💻👩‍💻"},
		{"👩‍💻👩‍💻", 3, "👩‍💻…"},
		{"👩‍💻", 1, "…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
		{"ab cd", 4, "ab…"},
		{"ی\u200cخ", 1, "…"},
		{"ی\u200cخی\u200cخ", 2, "ی…"},
	} {
		if got := Fit(tt.in, tt.most); got != tt.want {
			t.Errorf("%q in %d: got %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func FuzzFit(f *testing.F) {
	f.Add("👩🏽‍💻e\u0301日ی\u200cخ", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 1 || most > 1000 {
			return
		}
		line := Line(s, People)
		got := Fit(line, most)
		if Columns(got) > most {
			t.Fatalf("%q in %d columns is %q, %d columns", line, most, got, Columns(got))
		}
		if got != line && !strings.HasSuffix(got, "…") {
			t.Fatalf("%q in %d columns is %q", line, most, got)
		}
		nothingHidden(t, got, People)
	})
}
