package cli

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
)

// joinedMesh adds a mesh to the config of dir, as join does.
func joinedMesh(t *testing.T, dir peer.Dir, id, slug string) peer.Mesh {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	m := peer.Mesh{
		MeshID: id, MemberID: "m-" + id, Slug: slug, Name: "The " + slug, Member: key,
		BrokerURL: "ws://127.0.0.1:1/ws", JoinedAt: time.UnixMilli(1_700_000_000_000).UTC(), Key: envelope.NewMeshKey(),
	}
	if err := peer.UpdateConfig(t.Context(), dir, func(c *peer.Config) error { c.Put(m); return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

const sessionID = "0f8fad5b-d9cb-469f-a165-70867728950e"

// renamed renames mesh 00000001 from team to old-team. It returns the session keys, and the one that the session had
// in team.
func renamed(t *testing.T, dir peer.Dir) (identity.SessionStore, identity.SessionKey) {
	t.Helper()
	store := identity.OpenSessionStore(peer.SessionsRoot(dir))
	key, err := store.Key("team", sessionID)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := run(t, string(dir), "", "rename", "00000001", "old-team"); code != exitOK {
		t.Fatal(errOut)
	}
	return store, key
}

func TestRenameTakesSessionKeysAlong(t *testing.T) {
	dir := peer.Dir(t.TempDir())
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	joinedMesh(t, dir, "00000001", "team")
	store, key := renamed(t, dir)
	got, err := store.Stored("old-team", sessionID)
	if err != nil || got.Pair.Public() != key.Pair.Public() {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := store.Stored("team", sessionID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old folder: %v", err)
	}
	// If the session has another key there, nothing is renamed and no key is lost.
	other, err := store.Key("third", sessionID)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := run(t, string(dir), "", "rename", "old-team", "third"); code != exitFailed || !strings.Contains(errOut, "another key") {
		t.Errorf("%d %s", code, errOut)
	}
	if got, err := store.Stored("third", sessionID); err != nil || got.Pair.Public() != other.Pair.Public() {
		t.Errorf("got %+v, %v", got, err)
	}
	if code, out, _ := run(t, string(dir), "", "meshes"); code != exitOK || !strings.Contains(out, "old-team") {
		t.Errorf("%d %s", code, out)
	}
}

// TestRenameKeepsKeysOfMeshesWithTheSameSlug checks that rename leaves the session keys of other
// meshes where they are, however many have the same slug.
func TestRenameKeepsKeysOfMeshesWithTheSameSlug(t *testing.T) {
	dir := peer.Dir(t.TempDir())
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	for _, id := range []string{"mesh-00000001", "mesh-00000002", "mesh-00000003"} {
		joinedMesh(t, dir, id, "team")
	}
	store, key := renamed(t, dir)
	for _, slug := range []string{"team", "old-team"} {
		if got, err := store.Stored(slug, sessionID); err != nil || got.Pair.Public() != key.Pair.Public() {
			t.Errorf("%s: got %+v, %v", slug, got, err)
		}
	}
}

// TestNoSecretIsOverwritten replaces the keys of a config in every possible way.
func TestNoSecretIsOverwritten(t *testing.T) {
	dir := peer.Dir(t.TempDir())
	var secrets []string
	for range 3 { // replaces the previous one
		secrets = append(secrets, joinedMesh(t, dir, "00000001", "team").Member.SecretHex())
	}
	if code, _, errOut := run(t, string(dir), "", "forget", "team"); code != exitOK {
		t.Fatal(errOut)
	}
	kept, problems, err := peer.KeptKeys(dir)
	if err != nil || len(problems) > 0 || len(kept) != 3 {
		t.Fatalf("got %d, %v, %v", len(kept), problems, err)
	}
	for i, k := range kept { // newest first
		if k.Mesh.Member.SecretHex() != secrets[2-i] {
			t.Errorf("kept key %d is not the one that was replaced", i)
		}
	}
	for _, k := range kept {
		if code, _, errOut := run(t, string(dir), "", "keys", "restore", k.Mesh.Member.Public().String()[:8]); code != exitOK {
			t.Error(errOut)
		}
	}
	if kept, _, err := peer.KeptKeys(dir); err != nil || len(kept) != 2 {
		t.Errorf("got %d, %v", len(kept), err)
	}
}
