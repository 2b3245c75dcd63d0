// Package configdir locates the directory in which a user's claudemesh keeps its files,
// and writes files there.
//
// It depends on little beside the standard library, because hooks import it and Claude Code
// starts a hook for every tool call.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package configdir

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/internal/system"
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

// Make creates the directory, with mode 0700, if it does not exist.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("create config directory: %w", err)
	}
	return nil
}

// WriteFile writes a file in the directory with mode 0600. After a crash the file has
// either the old text or the new one, never a part. If the file is a symbolic link,
// WriteFile replaces its target.
func (d Dir) WriteFile(name string, b []byte) error {
	path := d.Path(name)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), name+".*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// syncDir makes a rename in the directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return system.SyncDir(dir)
}
