// Package configdir locates the directory in which a user's claudemesh keeps its files,
// and writes files there and elsewhere.
//
// It depends on little beside the standard library, because hooks import it and Claude Code
// starts a hook for every tool call.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package configdir

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is the path of the directory.
type Dir string

// Default returns $CLAUDEMESH_CONFIG_DIR, or ~/.claudemesh if that is not set.
func Default() (Dir, error) {
	if dir := os.Getenv("CLAUDEMESH_CONFIG_DIR"); dir != "" {
		path, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("find the config directory: %w", err)
		}
		return Dir(path), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the config directory: %w; set HOME or CLAUDEMESH_CONFIG_DIR", err)
	}
	return Dir(filepath.Join(home, ".claudemesh")), nil
}

// Path returns the path of a file in the directory.
func (d Dir) Path(name string) string { return filepath.Join(string(d), name) }

// Make creates the directory, with mode 0700, if it does not exist. If it does, Make removes the
// temporary files that crashed programs have left in it.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("create config directory: %w", err)
	}
	_ = fs.WalkDir(os.DirFS(string(d)), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			removeIfAbandoned(d.Path(path), entry)
		}
		return nil // another program may have changed the directory meanwhile
	})
	return nil
}

// WriteFile replaces a file in the directory durably, with mode 0600. If the file is a symbolic
// link, WriteFile replaces its target.
func (d Dir) WriteFile(name string, b []byte) error {
	path := d.Path(name)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := Replace(path, b, 0o600, true); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
