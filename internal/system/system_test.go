package system

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLock checks that a lock belongs to one open file or directory and doesn't prevent
// others from reading.
func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.WriteFile(path, []byte("who"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, dir} {
		var files [2]*os.File
		for i := range files {
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			files[i] = file
		}
		if err := TryLock(files[0]); err != nil {
			t.Fatal(err)
		}
		if err := TryLock(files[1]); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: locked twice: %v", path, err)
		}
		if err := Unlock(files[0]); err != nil {
			t.Fatal(err)
		}
		if err := TryLock(files[1]); err != nil {
			t.Errorf("%s: after the unlock: %v", path, err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "who" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestNotOurs(t *testing.T) {
	t.Parallel()
	own, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if NotOurs(own) {
		t.Error("our own directory is another's")
	}
	if os.Geteuid() != 0 {
		root, err := os.Stat("/")
		if err != nil {
			t.Fatal(err)
		}
		if HasModes && !NotOurs(root) {
			t.Error("the root directory is ours")
		}
	}
}
