package identity_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
)

// TestSessionFileThatIsNotARegularFile checks that the store does not read or write through
// a symbolic link, wherever it leads.
func TestSessionFileThatIsNotARegularFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"link out", "link to a sibling", "dangling link", "directory", "pipe"} {
		s, root := newStore(t)
		mustKey(t, s, slug, "1b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30")
		path := filepath.Join(root, slug, session+".json")
		target := filepath.Join(t.TempDir(), "target")
		pair := generate(t)
		text := fileOf(t, pair, nil)
		var err error
		switch name {
		case "link out":
			if err = os.WriteFile(target, []byte(text), 0o644); err == nil {
				err = os.Symlink(target, path)
			}
		case "link to a sibling":
			put(t, root, "target", text)
			err = os.Symlink("target", path)
		case "dangling link":
			err = os.Symlink(target, path)
		case "directory":
			err = os.Mkdir(path, 0o700)
		case "pipe":
			err = syscall.Mkfifo(path, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Touch(slug, session, time.Unix(0, 0)); err == nil && name != "directory" {
			t.Errorf("%s: Touch succeeded", name)
		}
		k := mustKey(t, s, slug, session)
		if !k.Fresh || k.Pair.Public() == pair.Public() || len(k.Warnings) != 1 {
			t.Errorf("%s: got %+v", name, k)
		}
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: not replaced by a regular file: %v", name, err)
		}
		if _, err := os.Lstat(path + ".corrupt"); err != nil {
			t.Errorf("%s: not set aside: %v", name, err)
		}
		info, err := os.Stat(target)
		if name == "link out" && (err != nil || info.Mode().Perm() != 0o644 || read(t, target) != text || info.ModTime().Unix() == 0) {
			t.Errorf("%s: the target was changed: %v, %v", name, info, err)
		}
		if name == "dangling link" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the target was made", name)
		}
	}
}

// TestMeshDirectoryThatIsALink checks that a mesh's directory may not be a link: two meshes could
// share a key, or keys could end up where nobody looks for them.
func TestMeshDirectoryThatIsALink(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"other", "out"} {
		s, root := newStore(t)
		other := mustKey(t, s, "other", session)
		out := t.TempDir()
		if target == "out" {
			target = out
		}
		if err := os.Symlink(target, filepath.Join(root, slug)); err != nil {
			t.Fatal(err)
		}
		k, err := s.Key(slug, session)
		if err != nil || k.Unsaved == nil || k.Pair.Public() == other.Pair.Public() {
			t.Errorf("%s: got %+v, %v", target, k, err)
		}
		if len(names(t, out)) > 0 || len(names(t, filepath.Join(root, "other"))) != 1 {
			t.Errorf("%s: something was stored through the link", target)
		}
		if info, err := os.Stat(filepath.Join(root, slug)); err != nil || info.Mode().Perm() != 0o700 && info.Mode().Perm() != 0o755 {
			t.Errorf("%s: the mode of the target was changed: %v, %v", target, info.Mode(), err)
		}
		if s.Touch(slug, session, time.Now()) == nil || s.Remove(slug, session) == nil {
			t.Errorf("%s: touched or removed through the link", target)
		}
		if list, err := s.List(); err != nil || len(list) != 1 || list[0].MeshSlug != "other" {
			t.Errorf("%s: listed %+v, %v", target, list, err)
		}
	}
}

// TestRootThatIsALink checks that a user who keeps the whole store elsewhere may link to
// it.
func TestRootThatIsALink(t *testing.T) {
	t.Parallel()
	elsewhere, link := t.TempDir(), filepath.Join(t.TempDir(), "sessions")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	mustKey(t, identity.OpenSessionStore(link), slug, session)
	if _, err := os.Stat(filepath.Join(elsewhere, slug, session+".json")); err != nil {
		t.Error(err)
	}
}

func TestKeyInMemoryWhenTheDiskRefuses(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	obstacle := filepath.Dir(root)
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil { // a file in the directory's place
		t.Fatal(err)
	}
	first, err := s.Key(slug, session)
	if err != nil || first.Unsaved == nil || !first.Fresh || first.Pair.IsZero() {
		t.Fatalf("got %+v, %v", first, err)
	}
	if !strings.Contains(first.Unsaved.Error(), obstacle) && !errors.Is(first.Unsaved, syscall.ENOTDIR) {
		t.Errorf("got Unsaved %q", first.Unsaved)
	}
	again, err := s.Key(slug, strings.ToUpper(session))
	if err != nil || again.Unsaved == nil || again.Fresh || again.Pair.Public() != first.Pair.Public() || !again.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if other, err := s.Key("other", session); err != nil || other.Pair.Public() == first.Pair.Public() {
		t.Errorf("another mesh: %+v, %v", other, err)
	}
	if _, err := s.List(); err == nil {
		t.Error("List succeeded on an unreadable directory")
	}

	// The store saves that key as soon as the disk allows it.
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	saved := mustKey(t, s, slug, session)
	stored := mustKey(t, identity.OpenSessionStore(root), slug, session)
	for _, k := range []identity.SessionKey{saved, stored} {
		if k.Fresh || k.Pair.Public() != first.Pair.Public() || !k.CreatedAt.Equal(first.CreatedAt) {
			t.Errorf("saved: %+v, want %+v", k, first)
		}
	}
}

// TestKeyInMemoryWinsOverALaterFile checks that a key in use does not change while the
// process runs.
func TestKeyInMemoryWinsOverALaterFile(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	obstacle := filepath.Dir(root)
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := s.Key(slug, session)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	stored := mustKey(t, identity.OpenSessionStore(root), slug, session)
	again, err := s.Key(slug, session)
	if err != nil || again.Unsaved == nil || again.Pair.Public() != first.Pair.Public() {
		t.Errorf("got %+v, %v", again, err)
	}
	if now := mustKey(t, identity.OpenSessionStore(root), slug, session); now.Pair.Public() != stored.Pair.Public() {
		t.Error("the stored key was replaced")
	}
}

func TestReadOnlyDirectoryStaysReadOnly(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	stored := mustKey(t, s, slug, session)
	dir := filepath.Join(root, slug)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	if k := mustKey(t, s, slug, session); k.Pair.Public() != stored.Pair.Public() || len(k.Warnings) > 0 {
		t.Errorf("got %+v", k)
	}
	k, err := s.Key(slug, "1b0e7a52-93a1-4f6e-8f0b-6a2c9d1e4f30")
	if err != nil || k.Pair.IsZero() {
		t.Fatalf("got %+v, %v", k, err)
	}
	if os.Geteuid() != 0 && k.Unsaved == nil {
		t.Error("the key is reported as stored")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("got mode %v, error %v", info, err)
	}
}
