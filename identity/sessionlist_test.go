package identity_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
)

func TestSessionList(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	if list, err := s.List(); err != nil || len(list) > 0 {
		t.Fatalf("nothing stored: %v, %v", list, err)
	}
	older, newer := numberedSession(1), numberedSession(2)
	a, b, c := mustKey(t, s, slug, older), mustKey(t, s, slug, newer), mustKey(t, s, "alpha", older)
	at := time.UnixMilli(1795460356414)
	for i, n := range [][2]string{{slug, older}, {slug, strings.ToUpper(newer)}, {"alpha", older}} {
		if err := s.Touch(n[0], n[1], at.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	// None of these is a session.
	put(t, root, older+".json.corrupt", "x")
	put(t, root, "."+older+".json.x.tmp", "x")
	put(t, root, "readme.json", "x")
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "No Slug"), 0o700); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	want := []identity.StoredSession{
		{MeshSlug: "alpha", SessionID: older, Pubkey: c.Pair.Public(), CreatedAt: c.CreatedAt, LastUsed: at.Add(2 * time.Hour).UTC()},
		{MeshSlug: slug, SessionID: newer, Pubkey: b.Pair.Public(), CreatedAt: b.CreatedAt, LastUsed: at.Add(time.Hour).UTC()},
		{MeshSlug: slug, SessionID: older, Pubkey: a.Pair.Public(), CreatedAt: a.CreatedAt, LastUsed: at.UTC()},
	}
	if len(list) != len(want) {
		t.Fatalf("listed %+v", list)
	}
	for i := range want {
		if list[i] != want[i] {
			t.Errorf("row %d: got %+v, want %+v", i, list[i], want[i])
		}
	}
}

// TestSessionListChangesNothing checks that List repairs nothing silently, and that Key
// repairs and returns warnings.
func TestSessionListChangesNothing(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	mustKey(t, s, slug, session)
	damaged := put(t, root, numberedSession(1)+".json", "damaged")
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 2 {
		t.Fatalf("listed %+v, %v", list, err)
	}
	for path, want := range map[string]fs.FileMode{root: 0o755, damaged: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if k := mustKey(t, s, slug, session); len(k.Warnings) != 1 {
		t.Errorf("warned %q", k.Warnings)
	}
}

func TestTouchAndRemoveOfNothing(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	for _, stored := range []string{"", numberedSession(1)} {
		if stored != "" {
			mustKey(t, s, slug, stored)
		}
		if err := s.Touch(slug, session, time.Now()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("touch: %v", err)
		}
		if err := s.Remove(slug, session); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove: %v", err)
		}
	}
}

func TestRemoveSession(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	k, other := mustKey(t, s, slug, session), mustKey(t, s, slug, numberedSession(1))
	if err := s.Remove(slug, strings.ToUpper(session)); err != nil {
		t.Fatal(err)
	}
	if left := names(t, filepath.Join(root, slug)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if again := mustKey(t, s, slug, session); !again.Fresh || again.Pair.Public() == k.Pair.Public() {
		t.Errorf("got %+v", again)
	}
	if again := mustKey(t, s, slug, numberedSession(1)); again.Pair.Public() != other.Pair.Public() {
		t.Error("another session's key was removed")
	}
	// Remove also finds a file whose name has another case, and a damaged file.
	for _, text := range []string{fileOf(t, generate(t), nil), "damaged"} {
		id := numberedSession(0xabcdef)
		path := put(t, root, strings.ToUpper(id)+".json", text)
		if err := s.Remove(slug, id); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("still there: %v", err)
		}
	}
}

// TestSweep checks that Sweep removes the temporary file of a killed process, but not one
// that a process is still writing.
func TestSweep(t *testing.T) {
	t.Parallel()
	s, root := newStore(t)
	old := put(t, root, "."+session+".json.OLD.tmp", "secret")
	put(t, root, "."+session+".json.NEW.tmp", "secret")
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	mustKey(t, s, slug, session)
	if left := names(t, filepath.Dir(old)); len(left) != 2 || left[0] != "."+session+".json.NEW.tmp" {
		t.Errorf("left behind: %v", left)
	}
}
