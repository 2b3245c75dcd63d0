package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestKeys(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"a member leaves", memberLeaves},
		{"a key comes back", keyComesBack},
		{"a mesh is renamed", meshIsRenamed},
		{"whoami", whoami},
	})
}

// nobodyThere is the URL of an unreachable broker.
const nobodyThere = "ws://127.0.0.1:1/ws"

func memberLeaves(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite("--role", "admin"), "--name", "bob")
	key := bob.config().str("pubkey")
	follow := bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })

	bob.fails(2, "-y", "leave", "team") // no terminal to ask for a confirmation
	alice.fails(1, "you own this mesh", "leave", "team", "--yes")
	bob.fails(1, "yourself", "remove", "bob", "-y")
	alice.must("peers")
	bob.must("peers")

	bob.fails(1, "You are still a member", "leave", "team", "--yes", "--broker", nobodyThere)
	bob.must("peers")

	if out := bob.must("leave", "team", "--yes"); !strings.Contains(out, "You have left the mesh team") {
		t.Errorf("leave prints %q", out)
	}
	<-follow.done
	bob.fails(1, "not joined a mesh", "peers")
	if out := bob.must("keys"); !strings.Contains(out, key[:8]) || strings.Contains(out, "in use") {
		t.Errorf("keys:\n%s", out)
	}
	for _, m := range alice.list("members", "--json") {
		if m.str("pubkey") == key && m["removed"] != true {
			t.Errorf("alice sees %s", m)
		}
	}
	// Restoring the kept key doesn't make bob a member again. Bob can leave again.
	bob.must("keys", "restore", key[:8])
	bob.fails(1, "removed", "peers")
	if out := bob.must("leave", "team", "--yes"); !strings.Contains(out, "no longer a member") {
		t.Errorf("leave prints %q", out)
	}
}

func keyComesBack(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	first := bob.config()
	alice.must("send", "bob", "for the first bob")
	bob.must("join", alice.invite(), "--name", "bobby", "--as-new-member")
	second := bob.config()
	bob.fails(1, "no kept key begins", "keys", "restore", second.str("pubkey")[:8])
	bob.fails(1, "8 digits", "keys", "restore", first.str("pubkey")[:7])

	bob.must("keys", "restore", first.str("pubkey")[:8])
	if out := bob.must("inbox"); !strings.Contains(out, "for the first bob") {
		t.Errorf("inbox:\n%s", out)
	}
	var inUse, kept int
	for _, k := range bob.list("keys", "--json") {
		switch {
		case k.str("pubkey") == first.str("pubkey") && k["inUse"] == true:
			inUse++
		case k.str("pubkey") == second.str("pubkey") && k["inUse"] == false:
			kept++
		}
	}
	if inUse != 1 || kept != 1 {
		t.Errorf("keys:\n%s", bob.must("keys"))
	}
	bob.must("keys", "restore", second.str("pubkey"))
	bob.must("keys", "restore", first.str("pubkey"))
	if got := bob.config(); toJSON(t, got) != toJSON(t, first) {
		t.Errorf("got %s, want %s", got, first)
	}
	// An unreadable file must not hide the others.
	if err := os.WriteFile(filepath.Join(bob.dir, "config.json.20260102T030405Z"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := bob.run("keys"); code != 0 || !strings.Contains(errOut, "20260102T030405Z") {
		t.Errorf("keys: %d %s", code, errOut)
	}
	bob.must("keys", "restore", second.str("pubkey"))
}

func meshIsRenamed(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	alice.must("create", "other", "--display-name", "alice")
	alice.fails(1, "mesh with the slug other", "rename", "team", "other")
	alice.fails(2, "slug", "rename", "team", "The Team")
	alice.must("rename", "team", "old-team")
	alice.must("peers", "--mesh", "old-team")
	alice.fails(1, "not joined a mesh called", "peers", "--mesh", "team")
	alice.must("create", "team", "--display-name", "alice")
}

func whoami(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.fails(1, "not joined a mesh", "whoami")
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	me := bob.list("whoami", "--json")[0]
	if me.str("name") != "bob" || me.str("role") != "member" || me.str("pubkey") != bob.config().str("pubkey") || me["session"] != nil {
		t.Errorf("whoami: %s", me)
	}
	// The fingerprint is one half of the safety number that the others see.
	number := strings.Join(strings.Fields(alice.must("verify", "bob")), " ")
	if !strings.Contains(number, me.str("fingerprint")) || len(me.str("fingerprint")) != 35 {
		t.Errorf("%q is not in\n%s", me.str("fingerprint"), number)
	}
	if out := bob.must("whoami"); !strings.Contains(out, "bob") || !strings.Contains(out, me.str("fingerprint")) {
		t.Errorf("whoami:\n%s", out)
	}
	bob.env = append(bob.env, "CLAUDE_CODE_SESSION_ID=0f8fad5b-d9cb-469f-a165-70867728950e")
	if out := bob.must("whoami"); !strings.Contains(out, "0f8fad5b-d9cb-469f-a165-70867728950e, which is not in this mesh") {
		t.Errorf("whoami:\n%s", out)
	}
	alice.must("create", "second", "--display-name", "alice")
	if list := alice.list("whoami", "--json"); len(list) != 2 {
		t.Errorf("whoami: %s", list)
	}
	if me := bob.list("whoami", "--json", "--mesh", "team", "--broker", nobodyThere)[0]; me.str("problem") == "" || me.str("pubkey") == "" {
		t.Errorf("whoami: %s", me)
	}
}
