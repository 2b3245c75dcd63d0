package backup

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
)

const (
	passphrase = "correct horse battery"
	sessionID  = "0f8fad5b-d9cb-469f-a165-70867728950e"
	goldenFile = "testdata/v1.backup"
)

var (
	cheap = cost{memory: 64, passes: 1, lanes: 1}
	start = time.UnixMilli(1_700_000_000_000).UTC()
	// update writes a missing golden file. An existing one must stay readable forever.
	update = flag.Bool("update", false, "write the golden file if it is missing")
)

// pair returns the same key pair for the same argument.
func pair(n byte) identity.KeyPair {
	return identity.FromSeed([identity.SeedSize]byte{n})
}

func mesh(t *testing.T, n byte, slug string) peer.Mesh {
	t.Helper()
	key, err := envelope.ParseMeshKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	if err != nil {
		t.Fatal(err)
	}
	return peer.Mesh{
		MeshID: "mesh-" + slug, MemberID: fmt.Sprintf("member-%d", n), Slug: slug, Name: "The " + slug, Member: pair(n),
		BrokerURL: "wss://mesh.example.org/ws", JoinedAt: start, Key: key,
	}
}

// filled makes a config directory that contains every kind of content.
func filled(t *testing.T) peer.Dir {
	t.Helper()
	dir := peer.Dir(t.TempDir())
	config := `{"version": 1, "meshes": [], "theirs": {"kept": true}}`
	if err := os.WriteFile(dir.Path("config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []byte{1, 2} { // the second replaces the first
		err := peer.UpdateConfig(t.Context(), dir, func(c *peer.Config) error { c.Put(mesh(t, n, "team")); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	store := identity.OpenSessionStore(peer.SessionsRoot(dir))
	if err := store.Put("team", sessionID, identity.SessionKey{Pair: pair(3), CreatedAt: start}); err != nil {
		t.Fatal(err)
	}
	mail, err := inbox.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer mail.Close()
	contacts, bob := mail.Contacts(), pair(4).Public()
	if _, err := contacts.Pin(t.Context(), "mesh-team", bob, "bob", start); err != nil {
		t.Fatal(err)
	}
	if err := contacts.Confirm(t.Context(), "mesh-team", bob, "bob", start); err != nil {
		t.Fatal(err)
	}
	if err := contacts.Trust(t.Context(), "mesh-team", pair(5).Public(), start, "carol"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// check checks that a config directory contains everything that filled puts into one.
func check(t *testing.T, dir peer.Dir) {
	t.Helper()
	config, err := peer.LoadConfig(dir)
	if err != nil || len(config.Meshes) != 1 || config.Meshes[0].Member.SecretHex() != pair(2).SecretHex() || config.Meshes[0].Key.IsZero() {
		t.Fatalf("config: %+v, %v", config, err)
	}
	if b, err := os.ReadFile(dir.Path("config.json")); err != nil || !bytes.Contains(b, []byte("theirs")) {
		t.Errorf("the fields of other programs are gone: %s, %v", b, err)
	}
	kept, _, err := peer.KeptKeys(dir)
	if err != nil || len(kept) != 1 || kept[0].Mesh.Member.SecretHex() != pair(1).SecretHex() {
		t.Errorf("kept keys: %+v, %v", kept, err)
	}
	key, err := identity.OpenSessionStore(peer.SessionsRoot(dir)).Stored("team", sessionID)
	if err != nil || key.Pair.SecretHex() != pair(3).SecretHex() || !key.CreatedAt.Equal(start) {
		t.Errorf("session key: %+v, %v", key, err)
	}
	mail, err := inbox.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer mail.Close()
	contacts := mail.Contacts()
	if c, known, err := contacts.Get(t.Context(), "mesh-team", pair(4).Public()); err != nil || !known || c.Name != "bob" || !c.ConfirmedAt.Equal(start) {
		t.Errorf("bob: %+v %v %v", c, known, err)
	}
	// Another member with bob's name is still in conflict.
	if c, err := contacts.Pin(t.Context(), "mesh-team", pair(6).Public(), "Bob", start); err != nil || !c.Conflict || c.With != pair(4).Public() {
		t.Errorf("a stranger: %+v, %v", c, err)
	}
	if c, err := contacts.Pin(t.Context(), "mesh-team", pair(6).Public(), "carol", start); err != nil || c.With != pair(5).Public() {
		t.Errorf("a stranger: %+v, %v", c, err)
	}
}

func collect(t *testing.T, dir peer.Dir) *Contents {
	t.Helper()
	c, problems, err := Collect(t.Context(), dir, "box", start)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return c
}

func TestRoundTrip(t *testing.T) {
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	text, err := Seal(collect(t, filled(t)), passphrase)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []byte{1, 2, 3} {
		if bytes.Contains(text, []byte(pair(n).SecretHex())) {
			t.Errorf("the file shows key %d", n)
		}
	}
	c, err := Open(text, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	dir := peer.Dir(t.TempDir())
	for i := range 2 { // the second time, nothing is new
		r, err := Restore(t.Context(), dir, c, false)
		if err != nil || r.Kept != "" || len(r.Left) > 0 || (r.Meshes == 1) != (i == 0) || (r.Sessions == 1) != (i == 0) || (r.Contacts == 2) != (i == 0) {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	check(t, dir)
	if crlf := bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")); Check(crlf) != nil {
		t.Error("a file that went through mail can't be read")
	}
}

func TestRestoreReplacesNothing(t *testing.T) {
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	c := collect(t, filled(t))
	dir := peer.Dir(t.TempDir())
	if err := peer.UpdateConfig(t.Context(), dir, func(c *peer.Config) error { c.Put(mesh(t, 7, "team")); return nil }); err != nil {
		t.Fatal(err)
	}
	store := identity.OpenSessionStore(peer.SessionsRoot(dir))
	if err := store.Put("team", sessionID, identity.SessionKey{Pair: pair(8), CreatedAt: start}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(dir.Path("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conflict *ConflictError
	if _, err := Restore(t.Context(), dir, c, false); !errors.As(err, &conflict) || len(conflict.Slugs) != 1 {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(dir.Path("config.json")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the config is another one: %v", err)
	}
	r, err := Restore(t.Context(), dir, c, true)
	if err != nil || r.Kept == "" || len(r.Left) != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
	kept, _, err := peer.KeptKeys(dir)
	if err != nil || len(kept) != 2 {
		t.Fatalf("kept keys: %+v, %v", kept, err)
	}
	if _, err := peer.FindKept(kept, pair(7).Public().String()); err != nil {
		t.Error(err)
	}
	if key, err := store.Stored("team", sessionID); err != nil || key.Pair.SecretHex() != pair(8).SecretHex() {
		t.Errorf("the key of the session is gone: %v", err)
	}
}

// TestGolden opens a file that an earlier version wrote. Never rewrite that file.
func TestGolden(t *testing.T) {
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	text, err := os.ReadFile(goldenFile)
	if os.IsNotExist(err) && *update {
		if text, err = seal(collect(t, filled(t)), passphrase, cheap); err == nil {
			err = os.WriteFile(goldenFile, text, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(text, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	dir := peer.Dir(t.TempDir())
	if _, err := Restore(t.Context(), dir, c, false); err != nil {
		t.Fatal(err)
	}
	check(t, dir)
}

func TestDamagedFiles(t *testing.T) {
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	good, err := seal(collect(t, filled(t)), passphrase, cheap)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(good), "\n", 3)
	salt := strings.Fields(lines[1])[4]
	with := func(first, second string) string { return first + "\n" + second + "\n" + lines[2] }
	for _, tc := range []struct {
		name, text, passphrase string
		want                   error
		says                   string
	}{
		{"wrong passphrase", string(good), "correct horse batterie", errCannotOpen, ""},
		{"no passphrase", string(good), "", errCannotOpen, ""},
		{"empty", "", passphrase, errNotABackup, ""},
		{"a config", `{"version":1}`, passphrase, errNotABackup, ""},
		{"a later version", with("claudemesh-backup 2", lines[1]), passphrase, nil, "version 2"},
		{"another function", with(lines[0], strings.Replace(lines[1], "argon2id", "argon2i", 1)), passphrase, errNotABackup, ""},
		{"a memory bomb", with(lines[0], "argon2id 4294967295 1 1 "+salt), passphrase, errNotABackup, "KiB"},
		{"more memory than fits", with(lines[0], "argon2id 4294967296 1 1 "+salt), passphrase, errNotABackup, ""},
		{"for ever", with(lines[0], "argon2id 64 4294967295 1 "+salt), passphrase, errNotABackup, "passes"},
		{"many lanes", with(lines[0], "argon2id 65536 1 255 "+salt), passphrase, errNotABackup, "lanes"},
		{"no lanes", with(lines[0], "argon2id 64 1 0 "+salt), passphrase, errNotABackup, ""},
		{"no passes", with(lines[0], "argon2id 64 0 1 "+salt), passphrase, errNotABackup, ""},
		{"no memory", with(lines[0], "argon2id 0 1 1 "+salt), passphrase, errNotABackup, ""},
		{"a short salt", with(lines[0], "argon2id 64 1 1 AAAA"), passphrase, errNotABackup, "salt"},
		{"a changed salt", with(lines[0], "argon2id 64 1 1 AAAAAAAAAAAAAAAAAAAAAA"), passphrase, errCannotOpen, ""},
		{"other passes", with(lines[0], "argon2id 64 2 1 "+salt), passphrase, errCannotOpen, ""},
		{"no body", lines[0] + "\n" + lines[1] + "\n", passphrase, errNotABackup, ""},
		{"a cut body", string(good[:len(good)-5]), passphrase, nil, ""},
		{"a missing line", string(good[:len(good)-2*(lineLen+1)]), passphrase, nil, ""},
		{"a changed letter", strings.Replace(string(good), lines[2][40:44], "AAAA", 1), passphrase, errCannotOpen, ""},
	} {
		c, err := Open([]byte(tc.text), tc.passphrase)
		if err == nil || c != nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(fmt.Sprint(err), tc.says) {
			t.Errorf("%s: got %v", tc.name, err)
		}
	}
	if _, err := Seal(collect(t, filled(t)), "short"); err == nil {
		t.Error("a short passphrase was accepted")
	}
}

func FuzzParse(f *testing.F) {
	good, err := os.ReadFile(goldenFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(magic + "\nargon2id 64 1 1 AAAAAAAAAAAAAAAAAAAAAA\nAAAA\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, sealed, err := parse(text)
		if err != nil {
			if sealed != nil {
				t.Error("got an error together with a result")
			}
			return
		}
		if err := h.check(); err != nil || len(h.salt) != saltSize || len(sealed) > len(text) {
			t.Errorf("accepted a header: %+v, %v", h, err)
		}
		body := bytes.SplitN(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), 3)[2]
		again, opened, err := parse(append([]byte(h.text()), body...))
		if err != nil || again.text() != h.text() || !bytes.Equal(opened, sealed) {
			t.Errorf("the header does not round-trip: %v", err)
		}
	})
}
