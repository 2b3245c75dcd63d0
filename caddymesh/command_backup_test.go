package caddymesh

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/disktest"
)

// TestBackupSaysWhere checks that backup and restore name the file of the operator that they can't
// write or read, not a temporary file of their own, and say what to do.
func TestBackupSaysWhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, backup, file := filepath.Join(dir, "mesh.db"), filepath.Join(dir, "backup.db"), filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"migrate", "--sqlite", db}, {"backup", backup, "--sqlite", db}} {
		if out, err := command(t, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	backsUp := func(to string) []string { return []string{"backup", to, "--sqlite", db} }
	restores := func(from, to string) []string { return []string{"restore", from, "--sqlite", to} }
	check := func(t *testing.T, args []string, names, why, advice string) {
		t.Helper()
		_, err := command(t, args...)
		if err == nil {
			t.Fatalf("%v works", args)
		}
		text := err.Error()
		for _, part := range []string{names, why, "; " + advice} {
			if !strings.Contains(text, part) {
				t.Errorf("%v: %q does not say %q", args, text, part)
			}
		}
		if strings.Contains(text, ".partial") || strings.Contains(text, "\n") {
			t.Errorf("%v: %q", args, text)
		}
	}
	missing := filepath.Join(dir, "none", "x.db")
	check(t, backsUp(missing), missing, "no such file or directory", "make the directory "+filepath.Dir(missing)+" first, or name another file")
	check(t, backsUp(file+"/x.db"), file+"/x.db", "not a directory", "name another file")
	check(t, backsUp(file), file, "file already exists", "name a new file")
	check(t, restores(backup, file+"/x.db"), file+"/x.db", "not a directory", "name another file")
	check(t, restores(backup, db), db, "file already exists", "--replace sets it aside")
	check(t, restores(missing, db+".new"), missing, "no such file or directory", `name a file that "caddy claudemesh backup" has written`)
	check(t, restores(dir, db+".new"), dir, "is a directory", `name a file that "caddy claudemesh backup" has written`)

	for what, tc := range map[string]struct {
		fault       func(t *testing.T, dir string) string // returns the directory that has it
		why, advice string
	}{
		"full":      {full, "full", "make room on its disk, or name another file"},
		"read-only": {func(t *testing.T, dir string) string { disktest.ReadOnly(t, dir); return dir }, "read-only", "check who may write there, or name another file"},
		"forbidden": {forbidden, "permission denied", "check who may write there, or name another file"},
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(tc.fault(t, t.TempDir()), "x.db")
			check(t, backsUp(path), path, tc.why, tc.advice)
			check(t, restores(backup, path), path, tc.why, tc.advice)
		})
	}
}

// full mounts a file system that has no room left.
func full(t *testing.T, dir string) string {
	disktest.Small(t, dir)
	disktest.Fill(t, filepath.Join(dir, "full"))
	return dir
}

// forbidden returns a directory in which this user may not make files. Root needs no right to do that, but
// Linux lets nobody make files in /sys.
func forbidden(t *testing.T, dir string) string {
	const kernels = "/sys"
	if os.Geteuid() == 0 {
		if err := os.Mkdir(filepath.Join(kernels, "x"), 0o700); !errors.Is(err, fs.ErrPermission) {
			t.Skipf("root may write everywhere, also to %s: %v", kernels, err)
		}
		return kernels
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	return dir
}
