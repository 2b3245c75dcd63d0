package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// MeshChoiceError tells that Config.Find has not found exactly one mesh.
type MeshChoiceError struct {
	Name   string // what was looked for; "" for the only one
	Found  int
	Joined []string // slugs of all joined meshes
}

func (e *MeshChoiceError) Error() string {
	switch {
	case len(e.Joined) == 0:
		return "you have joined no mesh yet; create one with `claudemesh create <slug>` or join one with `claudemesh join <link>`"
	case e.Name == "":
		return "you have joined several meshes; choose one with --mesh: " + strings.Join(e.Joined, ", ")
	case e.Found > 1:
		return fmt.Sprintf("several joined meshes are called %q; give the mesh id with --mesh (see `claudemesh meshes`)", e.Name)
	}
	return fmt.Sprintf("you have not joined a mesh called %q; joined: %s", e.Name, strings.Join(e.Joined, ", "))
}

// Dir is the directory that holds the config file, the inbox and their locks.
type Dir string

const configName = "config.json"

// DefaultDir returns CLAUDEMESH_CONFIG_DIR, else ~/.claudemesh.
func DefaultDir() (Dir, error) {
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

// Make creates the directory, with mode 0700, if it is not there.
func (d Dir) Make() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("create config directory: %w", err)
	}
	return nil
}

// Repair takes away what other users may do with the directory and the files of
// ours in it, and reports what it changed in words. A directory that is not this
// user's own is reported and left as it is.
func (d Dir) Repair() ([]string, error) {
	var changed []string
	for _, name := range []string{"", configName, inboxName, inboxName + "-wal", inboxName + "-shm"} {
		path := d.Path(name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return changed, fmt.Errorf("check modes: %w", err)
		}
		mode := info.Mode()
		if mode.Perm()&0o077 == 0 {
			continue
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if mode&os.ModeSticky != 0 || ok && int(owner.Uid) != os.Geteuid() {
			changed = append(changed, fmt.Sprintf("%s is open to other users (mode %04o) and not yours alone; choose another CLAUDEMESH_CONFIG_DIR", path, mode.Perm()))
			continue
		}
		if err := os.Chmod(path, mode.Perm()&^0o077); err != nil {
			return changed, fmt.Errorf("repair mode: %w", err)
		}
		changed = append(changed, fmt.Sprintf("%s was open to other users (mode %04o); it is now %04o", path, mode.Perm(), mode.Perm()&^0o077))
	}
	return changed, nil
}

// Load reads the config; one that is not there is empty.
func (d Dir) Load() (*Config, error) {
	path := d.Path(configName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Config{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("config file %s: %w", path, err)
	}
	return c, nil
}

// Update changes the config under a lock that all processes respect: change
// gets what is on disk now, and what it leaves is written at once and as a whole.
func (d Dir) Update(ctx context.Context, change func(*Config) error) error {
	if err := d.Make(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lock, err := Lock(ctx, d.Path("config.lock"))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	c, err := d.Load()
	if err != nil {
		return err
	}
	if err := change(c); err != nil {
		return err
	}
	b, err := c.encode()
	if err != nil {
		return err
	}
	return d.WriteFile(configName, b)
}

// backUp copies the config to BackupName.
func (d Dir) backUp() error {
	b, err := os.ReadFile(d.Path(configName))
	if err != nil {
		return fmt.Errorf("back up config: %w", err)
	}
	return d.WriteFile(BackupName, b)
}

// WriteFile writes a file of the directory with mode 0600: after a crash, either
// the old text is there or the new one, never a part. A symbolic link stays one.
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
	return dir.Sync()
}
