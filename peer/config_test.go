package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
)

func testMesh(t testing.TB, id, slug string) Mesh {
	t.Helper()
	return Mesh{
		MeshID: id, MemberID: "member-" + id, Slug: slug, Name: "The " + slug, Member: newKey(t), BrokerURL: "wss://host/ws",
		JoinedAt: time.Date(2026, 11, 23, 18, 59, 18, 437e6, time.UTC), Key: envelope.NewMeshKey(), InviteVersion: 2,
	}
}

func TestConfigIsInTheShapeOfV1(t *testing.T) {
	t.Parallel()
	dir := Dir(filepath.Join(t.TempDir(), "deep", "config"))
	m := testMesh(t, "m1", "team")
	if err := UpdateConfig(t.Context(), dir, func(c *Config) error { c.Put(m); return nil }); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir.Path("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"version": 1.0, "meshes": []any{map[string]any{
		"meshId": "m1", "memberId": "member-m1", "slug": "team", "name": "The team", "pubkey": m.Member.Public().String(),
		"secretKey": m.Member.SecretHex(), "brokerUrl": "wss://host/ws", "joinedAt": "2026-11-23T18:59:18.437Z",
		"rootKey": m.Key.Encode(), "inviteVersion": 2.0,
	}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", b)
	}
	for path, mode := range map[string]os.FileMode{"": 0o700, "config.json": 0o600} {
		if info, err := os.Stat(dir.Path(path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	left, err := filepath.Glob(dir.Path("*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	c, err := LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	back := c.Meshes[0]
	if back.Member.Public() != m.Member.Public() || !back.Key.Equal(m.Key) || !back.JoinedAt.Equal(m.JoinedAt) || back.Slug != "team" || back.InviteVersion != 2 {
		t.Errorf("got %+v", back)
	}
}

func TestConfigKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	k := newKey(t)
	text := fmt.Sprintf(`{"displayName":"Al <ice>","big":12345678901234567890,"meshes":[{"slug":"old","meshId":"m0","memberId":"x","name":"n","pubkey":%q,
		"secretKey":%q,"brokerUrl":"ws://h/ws","joinedAt":"2026-01-02T03:04:05.006Z","custom":{"a":[1.50]}}],"later":null,"version":1}`, k.Public(), k.SecretHex())
	if err := os.WriteFile(dir.Path("config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := UpdateConfig(t.Context(), dir, func(c *Config) error { c.Put(testMesh(t, "m1", "new")); return nil }); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir.Path("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{`"displayName": "Al <ice>"`, `12345678901234567890`, `1.50`, `"later": null`, `"slug": "old"`, `"slug": "new"`} {
		if !strings.Contains(string(b), kept) {
			t.Errorf("%s is lost: %s", kept, b)
		}
	}
	if strings.Contains(string(b), `"rootKey": ""`) {
		t.Error("an empty rootKey was written")
	}
}

func TestBadConfigs(t *testing.T) {
	t.Parallel()
	a, b := newKey(t), newKey(t)
	mesh := func(pubkey, secret, more string) string {
		return fmt.Sprintf(`{"version":1,"meshes":[{"meshId":"m","slug":"s","pubkey":%q,"secretKey":%q%s}]}`, pubkey, secret, more)
	}
	for name, text := range map[string]string{
		"empty file":      "",
		"no object":       "[]",
		"later version":   `{"version":2,"meshes":[]}`,
		"meshes no list":  `{"version":1,"meshes":{}}`,
		"bad secret":      mesh(a.Public().String(), "00", ""),
		"another pubkey":  mesh(b.Public().String(), a.SecretHex(), ""),
		"bad rootKey":     mesh(a.Public().String(), a.SecretHex(), `,"rootKey":"x"`),
		"bad joinedAt":    mesh(a.Public().String(), a.SecretHex(), `,"joinedAt":"x"`),
		"meshId a number": strings.Replace(mesh(a.Public().String(), a.SecretHex(), ""), `"m"`, "7", 1),
	} {
		dir := Dir(t.TempDir())
		if err := os.WriteFile(dir.Path("config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(dir)
		if err == nil || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s: got %v", name, err)
		} else if strings.Contains(err.Error(), a.SecretHex()) {
			t.Errorf("%s: the error contains the secret", name)
		}
		if err := UpdateConfig(t.Context(), dir, func(*Config) error { return nil }); err == nil {
			t.Errorf("%s: the file was overwritten", name)
		}
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	var group sync.WaitGroup
	for i := range 20 {
		m := testMesh(t, fmt.Sprint("m", i), "s")
		group.Go(func() {
			if err := UpdateConfig(t.Context(), dir, func(c *Config) error { c.Put(m); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if c, err := LoadConfig(dir); err != nil || len(c.Meshes) != 20 {
		t.Errorf("got %d meshes, %v", len(c.Meshes), err)
	}
}

func TestRepair(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	if err := os.Chmod(string(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.Path("config.json"), []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir.Path("config.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	changed, err := RepairModes(dir)
	if err != nil || len(changed) != 2 || !strings.Contains(changed[1], "mode 0644") {
		t.Errorf("got %q, %v", changed, err)
	}
	if info, err := os.Stat(dir.Path("config.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if changed, err := RepairModes(dir); err != nil || len(changed) != 0 {
		t.Errorf("again: %q, %v", changed, err)
	}
	shared := Dir(t.TempDir())
	if err := os.Chmod(string(shared), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if changed, err := RepairModes(shared); err != nil || len(changed) != 1 || !strings.Contains(changed[0], "choose another") {
		t.Errorf("a directory like /tmp: %q, %v", changed, err)
	}
	if info, _ := os.Stat(string(shared)); info.Mode().Perm() != 0o777 {
		t.Error("a directory like /tmp was changed")
	}
}

func TestWriteFileFollowsLinks(t *testing.T) {
	t.Parallel()
	dir, dotfiles := Dir(t.TempDir()), t.TempDir()
	if err := os.WriteFile(filepath.Join(dotfiles, "real.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dotfiles, "real.json"), dir.Path("config.json")); err != nil {
		t.Fatal(err)
	}
	if err := dir.WriteFile("config.json", []byte("text")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dotfiles, "real.json")); err != nil || string(b) != "text" {
		t.Errorf("got %q, %v", b, err)
	}
	if info, err := os.Lstat(dir.Path("config.json")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	one, two, three := testMesh(t, "m1", "a"), testMesh(t, "m2", "b"), testMesh(t, "m3", "b")
	for _, tc := range []struct {
		name, look, want, says string
		meshes                 []Mesh
	}{
		{"none joined", "", "", "a mesh yet", nil},
		{"the only one", "", "m1", "", []Mesh{one}},
		{"several", "", "", "a, b", []Mesh{one, two}},
		{"by slug", "b", "m2", "", []Mesh{one, two}},
		{"by id", "m3", "m3", "", []Mesh{one, two, three}},
		{"ambiguous slug", "b", "", "give the id of one (see `claudemesh meshes`): m2, m3", []Mesh{one, two, three}},
		{"unknown", "c", "", "not joined a mesh called", []Mesh{one}},
	} {
		m, err := (&Config{Meshes: tc.meshes}).Find(tc.look)
		switch {
		case tc.want == "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%s: got %v", tc.name, err)
		case tc.want != "" && (err != nil || m.MeshID != tc.want):
			t.Errorf("%s: got %v, %v", tc.name, m, err)
		}
	}
}

// TestNoLocks checks that the error says what to do if the file system has no locks. A lock that
// somebody else holds is a different error.
func TestNoLocks(t *testing.T) {
	t.Parallel()
	for _, err := range []error{syscall.ENOLCK, syscall.ENOTSUP, syscall.ENOSYS} {
		got := lockError("/net/home/x.lock", err)
		if !errors.Is(got, err) || !strings.Contains(got.Error(), "/net/home/x.lock") ||
			!strings.Contains(got.Error(), "offers no locks") || !strings.Contains(got.Error(), "set CLAUDEMESH_CONFIG_DIR to a directory on a local disk") {
			t.Errorf("%v: %v", err, got)
		}
	}
	if got := lockError("x", ErrLocked); !errors.Is(got, ErrLocked) || strings.Contains(got.Error(), "offers no locks") {
		t.Errorf("got %v", got)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	lock.Unlock()
	again, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again.Unlock()
}
