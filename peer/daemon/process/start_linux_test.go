package process

import (
	"errors"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	rest := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 167140 20"
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "7 (cat)" + rest, "167140"},
		{"name with a parenthesis", "7 (a) b (c)" + rest, "167140"},
	} {
		if got, err := parseStat([]byte(tc.in)); got != tc.want || err != nil {
			t.Errorf("%s: got %q, %v", tc.name, got, err)
		}
	}
	if _, err := parseStat([]byte("7 (cat)" + strings.Replace(rest, "S", "Z", 1))); !errors.Is(err, ErrGone) {
		t.Errorf("zombie: %v", err)
	}
	for _, in := range []string{"", "7", "7 (cat", "7 (cat)", "7 (cat) S 1"} {
		if _, err := parseStat([]byte(in)); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%q: %v", in, err)
		}
	}
}
