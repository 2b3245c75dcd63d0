package configdir

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// abandon creates a temporary file of some age, as a crash leaves it behind.
func abandon(t *testing.T, age time.Duration, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-age)
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
}

// files returns the paths of the files below a directory.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			list = append(list, strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir)+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestMakeRemovesWhatACrashLeft checks that Make removes the temporary files of claudemesh programs that have
// crashed, but neither those of programs that may still run nor the files of others: somebody may have made another
// directory, such as a home directory, that of claudemesh.
func TestMakeRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	abandon(t, 2*abandonedAfter, dir, ".key.hex.12.tmp")
	abandon(t, 2*abandonedAfter, dir, "room.12.tmp")
	abandon(t, 2*abandonedAfter, dir, "run", ".7.json.12.tmp")
	abandon(t, 2*abandonedAfter, dir, "config.json")
	abandon(t, time.Second, dir, ".sent.json.12.tmp")
	abandon(t, 2*abandonedAfter, dir, "work", "notes.tmp")
	abandon(t, 2*abandonedAfter, dir, "work", "plan.v2.tmp")
	abandon(t, 2*abandonedAfter, dir, "work", "12.tmp")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := Dir(link).Make(); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, dir), []string{".sent.json.12.tmp", "config.json", "work/12.tmp", "work/notes.tmp", "work/plan.v2.tmp"}; !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
}

// TestReplace checks that a file gets its new text and mode, and that Replace removes what a crash has left
// of the same file, but nothing of other programs.
func TestReplace(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		dir := t.TempDir()
		path := filepath.Join(dir, "settings.json")
		abandon(t, 2*abandonedAfter, dir, ".settings.json.12.tmp")
		abandon(t, 2*abandonedAfter, dir, ".other.json.12.tmp")
		abandon(t, time.Second, dir, ".settings.json.34.tmp")
		for _, text := range []string{"first", "second"} {
			if err := Replace(path, []byte(text), 0o640, durable); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("got %q, %v; want %s", got, err, text)
			}
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if got, want := files(t, dir), []string{".other.json.12.tmp", ".settings.json.34.tmp", "settings.json"}; !slices.Equal(got, want) {
			t.Errorf("left: %q, want %q", got, want)
		}
	}
}
