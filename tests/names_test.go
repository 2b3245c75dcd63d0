package tests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"names that are keys", namesThatAreKeys},
		{"names that are taken", namesThatAreTaken},
		{"joined again", joinedAgain},
		{"two meshes of a slug", twoMeshes},
	})
}

// namesThatAreKeys checks that a message to a key never goes to a peer whose name looks like
// that key, whether our client or a v1 client uses the name.
func namesThatAreKeys(t *testing.T, s *server) {
	alice, bob, guest := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	key := bob.config().str("pubkey")
	link := alice.invite()
	for _, name := range []string{key, key[:16], strings.ToUpper(key), "@all", "*", "#x", "\u3164", "deadbeef"} {
		guest.fails(1, "a name can't", "join", link, "--name", name)
		guest.fails(2, "a name can't", "create", "other", "--display-name", name)
	}
	guest.must("join", link, "--name", "guest") // the invite was for one use

	v1 := strings.TrimSpace(alice.must("invite", "--format", "v1"))
	joinV1(t, s, v1, key)
	joinV1(t, s, strings.TrimSpace(alice.must("invite", "--format", "v1")), key[:16])
	joinV1(t, s, strings.TrimSpace(alice.must("invite", "--format", "v1")), "deadbeef")
	for _, to := range []string{key, strings.ToUpper(key), key[:16], key[:40]} {
		if out := alice.must("send", to, "for "+to); !strings.Contains(out, "for bob") {
			t.Errorf("send %s: %s", to, out)
		}
	}
	alice.fails(1, "no member or session in this mesh", "send", "deadbeef", "x")
	alice.fails(1, "no member or session in this mesh", "remove", "deadbeef")
	if out := bob.must("inbox"); strings.Count(out, ": for ") != 4 {
		t.Errorf("bob has\n%s", out)
	}
	if out := alice.must("peers", "--all"); strings.Count(out, "may be taken for a key") != 3 {
		t.Errorf("peers:\n%s", out)
	}
	alice.must("remove", key[:16], "-y")
	alice.fails(1, "no member or session in this mesh", "verify", "bob")
}

// namesThatAreTaken checks that join refuses another member's name without using the invite,
// and that v1 clients may still join with it.
func namesThatAreTaken(t *testing.T, s *server) {
	alice, bob, second := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	for _, format := range []string{"link", "v1"} {
		link := strings.TrimSpace(alice.must("invite", "--format", format))
		guest := newPerson(t, s)
		for _, name := range []string{"bob", "BOB", " bob ", "b\u043eb"} {
			guest.fails(1, "choose another with --name", "join", link, "--name", name)
		}
		alice.must("send", "bob", "still one")
		guest.must("join", link, "--name", "guest "+format)
	}
	second.must("join", alice.invite(), "--name", "second")
	joinV1(t, s, strings.TrimSpace(alice.must("invite", "--format", "v1")), "BOB")
	alice.must("send", "bob", "the exact one")
	if out := bob.must("inbox"); !strings.Contains(out, "the exact one") {
		t.Errorf("bob has\n%s", out)
	}
	// The command suggests one command per candidate.
	command := "claudemesh send " + bob.config().str("pubkey")[:16] + " 'for one'"
	alice.fails(1, command, "send", "Bob", "for one")
}

// joinedAgain checks that nobody joins a mesh twice by accident, and that no key gets lost.
func joinedAgain(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	for i, format := range []string{"link", "v1"} {
		link := strings.TrimSpace(alice.must("invite", "--format", format))
		before := bob.config().str("secretKey")
		bob.fails(1, "--as-new-member", "join", link, "--name", "bobby")
		alice.fails(1, "--as-new-member", "join", link, "--name", "alice2")
		if now := bob.config().str("secretKey"); now != before {
			t.Error("a refused join changed the key")
		}
		if out := alice.must("members"); strings.Contains(out, "bobby") {
			t.Errorf("members:\n%s", out)
		}
		carol := newPerson(t, s)
		carol.must("join", link, "--name", "carol by "+format) // the refused joins did not use up the invite
		bob.must("join", alice.invite("--format", format), "--name", "bob the new "+format, "--as-new-member")
		kept, err := filepath.Glob(filepath.Join(bob.dir, "config.json.*"))
		if err != nil || len(kept) != i+1 {
			t.Fatalf("kept %v, %v", kept, err)
		}
		found := false
		for _, path := range kept {
			b, err := os.ReadFile(path)
			info, statErr := os.Stat(path)
			if err != nil || statErr != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", path, err, info.Mode())
			}
			found = found || strings.Contains(string(b), before)
		}
		if !found || bob.config().str("secretKey") == before {
			t.Error("the earlier key is gone, or there is no new one")
		}
	}
}

// twoMeshes checks that nobody gets two meshes with one name by accident, that short ids
// distinguish two meshes, and that forgetting a mesh keeps its key.
func twoMeshes(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	key := alice.config().str("secretKey")
	alice.fails(1, "claudemesh forget", "create", "team")
	bob.must("create", "team", "--display-name", "bob")
	alice.must("join", bob.invite(), "--name", "alice")
	alice.fails(1, "several joined meshes", "peers", "--mesh", "team")
	id := alice.config().str("meshId")
	short := id[len(id)-8:]
	if out := alice.must("meshes"); !strings.Contains(out, short) {
		t.Errorf("meshes:\n%s", out)
	}
	alice.must("peers", "--mesh", short)
	alice.fails(1, "", "forget", "team")
	alice.must("forget", short)
	if out := alice.must("meshes"); strings.Contains(out, short) || strings.Count(out, "team") != 1 {
		t.Errorf("meshes:\n%s", out)
	}
	kept, err := filepath.Glob(filepath.Join(alice.dir, "config.json.*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if b, err := os.ReadFile(kept[0]); err != nil || !strings.Contains(string(b), key) {
		t.Errorf("the key is gone: %v", err)
	}
	// A removed member can forget the mesh, too.
	bob.must("remove", "alice", "-y")
	alice.must("forget", "team")
}
