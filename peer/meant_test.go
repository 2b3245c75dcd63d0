package peer

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func TestMeant(t *testing.T) {
	t.Parallel()
	peers := []wire.PeerRow{
		{DisplayName: "bob", Groups: []wire.Group{{Name: "review"}, {Name: "dev/web"}}},
		{DisplayName: "carol"}, {DisplayName: "deadbeefdeadbeef"}, {DisplayName: "@all"},
	}
	members := []wire.MemberRow{{DisplayName: "Dave"}, {DisplayName: "gone", Removed: true}}
	for to, want := range map[string]string{
		"@bob": "bob", "@BOB": "bob", "@bbo": "bob", "#bob": "bob", "@dave": "Dave", "@reviwe": "@review", "review": "@review", "@dev/wbe": "@dev/web",
		"@gone": "", "@nogroup": "", "deadbeefdeadbeee": "", "@Review": "@review", "@bob2": "bob", "@": "", "": "", "zzz": "",
	} {
		if got := Meant(to, peers, members); got != want {
			t.Errorf("%q: got %q, want %q", to, got, want)
		}
	}
	if got := (&ReachesNobodyError{"@b\x1bob", "target_not_found: nobody", "b\x1bob"}).Error(); strings.Contains(got, `"b`+"\x1b") {
		t.Errorf("the terminal obeys %q", got)
	}
}
