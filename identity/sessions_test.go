package identity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	slug    = "team"
	session = "0b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30"
)

// newStore returns a store whose directory doesn't exist yet.
func newStore(t testing.TB) (identity.SessionStore, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "config", "sessions")
	return identity.OpenSessionStore(root), root
}

// mustKey returns a key that is stored.
func mustKey(t testing.TB, s identity.SessionStore, slug, id string) identity.SessionKey {
	t.Helper()
	k, err := s.Key(slug, id)
	if err != nil {
		t.Fatal(err)
	}
	if k.Unsaved != nil {
		t.Fatalf("not stored: %v", k.Unsaved)
	}
	if k.Pair.IsZero() {
		t.Fatal("got no key")
	}
	return k
}

// put writes a file into the mesh's directory.
func put(t testing.TB, root, name, text string) string {
	t.Helper()
	path := filepath.Join(root, slug, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names lists a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// fileOf returns the content of a key's file as another program might write it.
func fileOf(t testing.TB, k identity.KeyPair, change func(map[string]any)) string {
	t.Helper()
	fields := map[string]any{
		"version": 1, "meshSlug": slug, "sessionId": session,
		"publicKey": k.Public().String(), "secretKey": k.SecretHex(), "createdAt": "2026-11-23T10:11:12.345Z",
	}
	if change != nil {
		change(fields)
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func generate(t testing.TB) identity.KeyPair {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSessionKeyStays(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("opening the store has touched the disk: %v", err)
	}
	before := time.Now().Add(-time.Second)
	first := mustKey(t, s, slug, session)
	if !first.Fresh || len(first.Warnings) > 0 || first.CreatedAt.Before(before) || first.CreatedAt.After(time.Now()) {
		t.Errorf("first: %+v", first)
	}
	for name, again := range map[string]identity.SessionKey{
		"the same store":  mustKey(t, s, slug, session),
		"another store":   mustKey(t, identity.OpenSessionStore(root), slug, session),
		"upper-case UUID": mustKey(t, s, slug, strings.ToUpper(session)),
	} {
		if again.Fresh || again.Pair.Public() != first.Pair.Public() || !again.CreatedAt.Equal(first.CreatedAt) || len(again.Warnings) > 0 {
			t.Errorf("%s: %+v, want the key of %+v", name, again, first)
		}
	}
	others := []wire.Key{first.Pair.Public()}
	for _, n := range [][2]string{{"other", session}, {slug, "1b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30"}} {
		k := mustKey(t, s, n[0], n[1])
		if slices.Contains(others, k.Pair.Public()) {
			t.Errorf("%v has another's key", n)
		}
		others = append(others, k.Pair.Public())
	}
}

func TestSessionFileIsProtocolV1(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	k := mustKey(t, s, slug, strings.ToUpper(session))
	path := filepath.Join(root, slug, session+".json")
	var got map[string]any
	if err := json.Unmarshal([]byte(read(t, path)), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"version": 1.0, "meshSlug": slug, "sessionId": session, "publicKey": k.Pair.Public().String(),
		"secretKey": k.Pair.SecretHex(), "createdAt": k.CreatedAt.Format(wire.TimeFormat),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("fields %v", got)
	}
	for path, mode := range map[string]fs.FileMode{filepath.Dir(root): 0o700, root: 0o700, filepath.Dir(path): 0o700, path: 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), mode)
		}
	}
	if list := names(t, filepath.Dir(path)); len(list) != 1 {
		t.Errorf("more than the key was left: %v", list)
	}
}

// TestSessionFilesOfOthers checks that the store uses a file that another v1 client wrote
// and leaves it unchanged.
func TestSessionFilesOfOthers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file string
		change     func(map[string]any)
		created    string
	}{
		{"plain", session + ".json", nil, "2026-11-23T10:11:12.345Z"},
		{"unknown fields", session + ".json", func(m map[string]any) { m["note"] = map[string]any{"a": 1} }, "2026-11-23T10:11:12.345Z"},
		{"upper-case UUID inside", session + ".json", func(m map[string]any) { m["sessionId"] = strings.ToUpper(session) }, "2026-11-23T10:11:12.345Z"},
		{"upper-case name", strings.ToUpper(session) + ".json", func(m map[string]any) { m["sessionId"] = strings.ToUpper(session) }, "2026-11-23T10:11:12.345Z"},
		{"mixed-case name", strings.ToUpper(session[:9]) + session[9:] + ".json", nil, "2026-11-23T10:11:12.345Z"},
		{"another zone", session + ".json", func(m map[string]any) { m["createdAt"] = "2026-11-23T12:00:00+02:00" }, "2026-11-23T10:00:00.000Z"},
		{"no time", session + ".json", func(m map[string]any) { delete(m, "createdAt") }, ""},
	} {
		s, root := newStore(t)
		pair := generate(t)
		text := fileOf(t, pair, tc.change)
		path := put(t, root, tc.file, text)
		k := mustKey(t, s, slug, session)
		if k.Fresh || k.Pair.Public() != pair.Public() || len(k.Warnings) > 0 {
			t.Errorf("%s: %+v", tc.name, k)
		}
		if tc.created != "" && k.CreatedAt.Format(wire.TimeFormat) != tc.created || tc.created == "" && time.Since(k.CreatedAt) > time.Minute {
			t.Errorf("%s: created at %v", tc.name, k.CreatedAt)
		}
		if read(t, path) != text || len(names(t, filepath.Dir(path))) != 1 {
			t.Errorf("%s: the file was changed", tc.name)
		}
	}
}

// TestSessionFileInLowerCaseWins checks that every process chooses the same file if two
// names differ only in case.
func TestSessionFileInLowerCaseWins(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	pair := generate(t)
	put(t, root, strings.ToUpper(session)+".json", fileOf(t, generate(t), nil))
	put(t, root, session+".json", fileOf(t, pair, nil))
	if names(t, filepath.Join(root, slug))[0] == session+".json" {
		t.Skip("the file system doesn't distinguish case")
	}
	if k := mustKey(t, s, slug, session); k.Pair.Public() != pair.Public() {
		t.Errorf("got %s", k.Pair)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].Pubkey != pair.Public() {
		t.Errorf("listed %+v, %v", list, err)
	}
}

func TestSessionStoreRefusesBadNames(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	for _, tc := range []struct {
		name, slug, id string
		want           error
	}{
		{"empty slug", "", session, identity.ErrBadSlug},
		{"dot", ".", session, identity.ErrBadSlug},
		{"dots", "..", session, identity.ErrBadSlug},
		{"path up", "../x", session, identity.ErrBadSlug},
		{"path down", "a/b", session, identity.ErrBadSlug},
		{"absolute", "/tmp", session, identity.ErrBadSlug},
		{"upper case", "Team", session, identity.ErrBadSlug},
		{"line end", "team\n", session, identity.ErrBadSlug},
		{"zero byte", "team\x00", session, identity.ErrBadSlug},
		{"letters beyond ASCII", "tëam", session, identity.ErrBadSlug},
		{"empty id", slug, "", identity.ErrBadSessionID},
		{"path", slug, "../" + session, identity.ErrBadSessionID},
		{"path as long as a UUID", slug, "../../../../../../../../../etc/passwd", identity.ErrBadSessionID},
		{"no dashes", slug, strings.ReplaceAll(session, "-", ""), identity.ErrBadSessionID},
		{"braces", slug, "{" + session + "}", identity.ErrBadSessionID},
		{"not hex", slug, "g" + session[1:], identity.ErrBadSessionID},
		{"line end after the id", slug, session + "\n", identity.ErrBadSessionID},
		{"longer in lower case", slug, "İ" + session[2:], identity.ErrBadSessionID},
	} {
		if k, err := s.Key(tc.slug, tc.id); !errors.Is(err, tc.want) || !k.Pair.IsZero() {
			t.Errorf("%s: key %v, %v", tc.name, k.Pair, err)
		}
		if err := s.Touch(tc.slug, tc.id, time.Now()); !errors.Is(err, tc.want) {
			t.Errorf("%s: touch: %v", tc.name, err)
		}
		if err := s.Remove(tc.slug, tc.id); !errors.Is(err, tc.want) {
			t.Errorf("%s: remove: %v", tc.name, err)
		}
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the disk was touched: %v", err)
	}
	for _, slug := range []string{"a", "-", "a.b_c-9", "a..b"} {
		mustKey(t, s, slug, session)
	}
}

func TestSessionStoreRepairsModes(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	k := mustKey(t, s, slug, session)
	dir := filepath.Join(root, slug)
	path := filepath.Join(dir, session+".json")
	for _, tc := range []struct {
		path        string
		wrong, want fs.FileMode
	}{
		{root, 0o755, 0o700}, {root, 0o770, 0o700}, {dir, 0o777, 0o700}, {dir, 0o701, 0o700},
		{path, 0o644, 0o600}, {path, 0o660, 0o600}, {path, 0o604, 0o600}, {path, 0o700, 0o600}, {path, 0, 0o600},
	} {
		if err := os.Chmod(tc.path, tc.wrong); err != nil {
			t.Fatal(err)
		}
		again := mustKey(t, s, slug, session)
		info, err := os.Stat(tc.path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != tc.want {
			t.Errorf("%s with %04o: is %04o now", tc.path, tc.wrong, info.Mode().Perm())
		}
		if len(again.Warnings) != 1 || !strings.Contains(again.Warnings[0], tc.path) || !strings.Contains(again.Warnings[0], fmt.Sprintf("%04o", tc.wrong)) {
			t.Errorf("%s with %04o: warned %q", tc.path, tc.wrong, again.Warnings)
		}
		if again.Pair.Public() != k.Pair.Public() {
			t.Errorf("%s with %04o: another key", tc.path, tc.wrong)
		}
	}
	if again := mustKey(t, s, slug, session); len(again.Warnings) > 0 {
		t.Errorf("warned about correct modes: %q", again.Warnings)
	}
}

// TestSessionStoreLeavesSharedDirectories checks that the store does not change the mode of
// a directory like /tmp.
func TestSessionStoreLeavesSharedDirectories(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Chmod(root, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	k := mustKey(t, identity.OpenSessionStore(root), slug, session)
	info, err := os.Stat(root)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o777 || len(k.Warnings) != 1 || !strings.Contains(k.Warnings[0], "isn't yours alone") {
		t.Errorf("mode %v, warned %q", info.Mode(), k.Warnings)
	}
}

func TestDamagedSessionFiles(t *testing.T) {
	t.Parallel()
	pair, other := generate(t), generate(t)
	good := fileOf(t, pair, nil)
	set := func(name string, v any) string {
		return fileOf(t, pair, func(m map[string]any) { m[name] = v })
	}
	for name, text := range map[string]string{
		"empty":                    "",
		"torn":                     good[:len(good)/2],
		"all but the last byte":    good[:len(good)-1],
		"zeros":                    strings.Repeat("\x00", len(good)),
		"two":                      good + good,
		"no JSON":                  "key",
		"null":                     "null",
		"array":                    "[]",
		"no fields":                "{}",
		"version 2":                set("version", 2),
		"version as text":          set("version", "1"),
		"no version":               fileOf(t, pair, func(m map[string]any) { delete(m, "version") }),
		"another mesh":             set("meshSlug", "other"),
		"another session":          set("sessionId", "1b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30"),
		"another public key":       set("publicKey", other.Public().String()),
		"upper-case public key":    set("publicKey", strings.ToUpper(pair.Public().String())),
		"no secret":                set("secretKey", ""),
		"seed only":                set("secretKey", pair.SecretHex()[:64]),
		"mismatched secret halves": set("secretKey", pair.SecretHex()[:64]+other.SecretHex()[64:]),
		"another secret key":       set("secretKey", other.SecretHex()),
		"too long":                 good + strings.Repeat(" ", 100<<10),
		"secret not a string":      set("secretKey", 7),
		"text after the JSON":      good + "x",
	} {
		s, root := newStore(t)
		path := put(t, root, session+".json", text)
		list, err := s.List()
		if err != nil || len(list) != 1 || list[0].Problem == "" || !list[0].Pubkey.IsZero() {
			t.Errorf("%s: listed as %+v, %v", name, list, err)
		}
		k := mustKey(t, s, slug, session)
		if !k.Fresh || k.Pair.Public() == pair.Public() || k.Pair.Public() == other.Public() {
			t.Errorf("%s: got %+v", name, k)
		}
		if len(k.Warnings) != 1 || !strings.Contains(k.Warnings[0], path) || !strings.Contains(k.Warnings[0], session+".json.corrupt") {
			t.Errorf("%s: warned %q", name, k.Warnings)
		}
		if strings.Contains(fmt.Sprint(k, list), pair.SecretHex()[:16]) {
			t.Errorf("%s: the warning shows the secret", name)
		}
		if read(t, path+".corrupt") != text {
			t.Errorf("%s: the file set aside differs from the damaged file", name)
		}
		if again := mustKey(t, s, slug, session); again.Fresh || again.Pair.Public() != k.Pair.Public() || len(again.Warnings) > 0 {
			t.Errorf("%s: then %+v", name, again)
		}
	}
}

func TestDamagedSessionFilesPileUp(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	var path string
	for _, text := range []string{"first", "second", "third"} {
		path = put(t, root, session+".json", text)
		mustKey(t, s, slug, session)
	}
	for suffix, want := range map[string]string{".corrupt": "first", ".corrupt.1": "second", ".corrupt.2": "third"} {
		if got := read(t, path+suffix); got != want {
			t.Errorf("%s holds %q, want %q", suffix, got, want)
		}
	}
}

// TestDamagedSessionFileBesideAGoodOne checks that a damaged file does not hide a good one
// in another case.
func TestDamagedSessionFileBesideAGoodOne(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	pair := generate(t)
	put(t, root, strings.ToUpper(session)+".json", fileOf(t, pair, nil))
	put(t, root, session+".json", "damaged")
	if len(names(t, filepath.Join(root, slug))) == 1 {
		t.Skip("the file system doesn't distinguish case")
	}
	if k := mustKey(t, s, slug, session); k.Fresh || k.Pair.Public() != pair.Public() || len(k.Warnings) != 1 {
		t.Errorf("got %+v", k)
	}
}
