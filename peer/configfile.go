package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer/configdir"
)

// MeshChoiceError reports that Config.Find did not find exactly one mesh.
type MeshChoiceError struct {
	Name   string // the name that Find looked for; "" means the only mesh
	Found  int
	Joined []string // MeshNames of the meshes that were found, or of all joined ones if none was
}

func (e *MeshChoiceError) Error() string {
	switch {
	case len(e.Joined) == 0:
		return "you have not joined a mesh yet; create one with `claudemesh create <slug>` or join one with `claudemesh join <link>`"
	case e.Name == "":
		return "you have joined several meshes; choose one with --mesh: " + strings.Join(e.Joined, ", ")
	case e.Found > 1:
		return fmt.Sprintf("several joined meshes are called %q; give the id of one (see `claudemesh meshes`): %s", e.Name, strings.Join(e.Joined, ", "))
	}
	return fmt.Sprintf("you have not joined a mesh called %q; joined: %s", e.Name, strings.Join(e.Joined, ", "))
}

// Dir is the directory that holds the config file, the inbox and their locks.
type Dir = configdir.Dir

// DefaultDir returns $CLAUDEMESH_CONFIG_DIR, or ~/.claudemesh if that is not set.
func DefaultDir() (Dir, error) { return configdir.Default() }

const (
	// ConfigName is the name of the config's file in the config directory.
	ConfigName = "config.json"

	// lockPatience is how long LockConfig waits. Whoever has the lock only writes a few
	// small files.
	lockPatience = 10 * time.Second
)

// RepairModes closes the directory, and our files in it, to other users. It returns one
// sentence for each change. If the directory belongs to another user, RepairModes only
// reports that.
func RepairModes(d Dir) ([]string, error) {
	var changed []string
	for _, name := range []string{"", ConfigName, "inbox.db", "inbox.db-wal", "inbox.db-shm"} { // inbox.FileName and its logs
		path := d.Path(name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return changed, fmt.Errorf("check modes: %w", err)
		}
		mode := info.Mode()
		if !system.HasModes || mode.Perm()&0o077 == 0 {
			continue
		}
		if mode&os.ModeSticky != 0 || system.NotOurs(info) {
			changed = append(changed, fmt.Sprintf("%s is open to other users (mode %04o) and does not belong to you alone; choose another CLAUDEMESH_CONFIG_DIR", path, mode.Perm()))
			continue
		}
		if err := os.Chmod(path, mode.Perm()&^0o077); err != nil {
			return changed, fmt.Errorf("repair mode: %w", err)
		}
		changed = append(changed, fmt.Sprintf("%s was open to other users (mode %04o); it is now %04o", path, mode.Perm(), mode.Perm()&^0o077))
	}
	return changed, nil
}

// LoadConfig reads the config. If there is no file, the config is empty. A mesh joined by
// a client of protocol v1 has no key in the config; LoadConfig takes the key from the
// token that such a client keeps beside the config.
func LoadConfig(d Dir) (*Config, error) {
	c, err := readConfig(d)
	if err != nil {
		return nil, err
	}
	adoptV1Keys(d, c)
	return c, nil
}

// readConfig reads the config as the file has it.
func readConfig(d Dir) (*Config, error) {
	path := d.Path(ConfigName)
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

// UpdateConfig changes the config under a lock that all processes respect. It passes the
// config on disk to change and writes the result atomically. If change removes a secret
// key, UpdateConfig first backs up the config; see KeptKeys.
func UpdateConfig(ctx context.Context, d Dir, change func(*Config) error) error {
	_, err := updateConfig(ctx, d, change)
	return err
}

// updateConfig is UpdateConfig. It returns the path of the backup file as kept, or "" if
// no secret key was removed.
func updateConfig(ctx context.Context, d Dir, change func(*Config) error) (kept string, err error) {
	err = underConfigLock(ctx, d, func() error {
		c, err := readConfig(d)
		if err != nil {
			return err
		}
		before := c.secrets()
		if err := change(c); err != nil {
			return err
		}
		for i := range c.Meshes {
			// One bad mesh makes the whole file unreadable.
			if err := c.Meshes[i].check(); err != nil {
				return fmt.Errorf("write config: %w", err)
			}
		}
		b, err := c.encode()
		if err != nil {
			return err
		}
		after := c.secrets()
		if slices.ContainsFunc(before, func(s string) bool { return !slices.Contains(after, s) }) {
			if kept, err = backUpConfigLocked(d, time.Now()); err != nil {
				return err
			}
		}
		return d.WriteFile(ConfigName, b)
	})
	return kept, err
}

// underConfigLock runs do while no other process can change the config.
func underConfigLock(ctx context.Context, d Dir, do func() error) error {
	lock, err := LockConfig(ctx, d)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return do()
}

// LockConfig takes the lock under which processes change the config and the small files
// beside it. It creates the directory if necessary, and waits at most 10 s for the lock.
func LockConfig(ctx context.Context, d Dir) (*FileLock, error) {
	if err := d.Make(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	return Lock(ctx, d.Path("config.lock"))
}

// secrets returns all secret keys of a config.
func (c *Config) secrets() (list []string) {
	for i := range c.Meshes {
		m := &c.Meshes[i]
		list = append(list, m.Member.SecretHex())
		if !m.Key.IsZero() {
			list = append(list, m.Key.Encode())
		}
	}
	return list
}
