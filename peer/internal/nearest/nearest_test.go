package nearest

import "testing"

func TestOf(t *testing.T) {
	t.Parallel()
	words := []string{"bob", "carol", "Dave", "review"}
	for typed, want := range map[string]string{
		"bob": "bob", "BOB": "bob", "bbo": "bob", "bo": "", "boob": "bob", "carl": "carol", "caröl": "carol", "dave": "Dave",
		"reviwe": "review", "revie": "review", "rview2": "review", "b": "", "": "", "zed": "", "reviewer": "review", "reviewers": "",
	} {
		if got := Of(typed, words); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}
