package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// keptDate is the format of the date in the name of a backup of the config; see
// backUpConfigLocked.
const keptDate = "20060102T150405Z"

// keptName matches the name of such a backup.
var keptName = regexp.MustCompile(`^config\.json\.(\d{8}T\d{6}Z)(-\d+)?$`)

// KeptKey is a member key that is no longer in the config, with its mesh as it was.
type KeptKey struct {
	Mesh   Mesh
	File   string    // the path of the newest file that has it
	KeptAt time.Time // to the second
}

// KeptKeys returns the member keys that are in backups of the config in dir but not in the
// config itself, newest first. problems lists the files that it could not read.
func KeptKeys(dir Dir) (list []KeptKey, problems []string, err error) {
	config, err := readConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(string(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("list kept keys: %w", err)
	}
	seen := make(map[wire.Key]bool)
	for i := range config.Meshes {
		seen[config.Meshes[i].Member.Public()] = true
	}
	for _, k := range keptFiles(dir, entries) {
		b, err := os.ReadFile(k.File)
		var was *Config
		if err == nil {
			was, err = parseConfig(b)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", k.File, err))
			continue
		}
		for _, m := range was.Meshes {
			if !seen[m.Member.Public()] {
				seen[m.Member.Public()] = true
				list = append(list, KeptKey{m, k.File, k.KeptAt})
			}
		}
	}
	return list, problems, nil
}

// keptFiles returns the backups of the config, newest first.
func keptFiles(dir Dir, entries []fs.DirEntry) (files []KeptKey) {
	for _, e := range entries {
		if m := keptName.FindStringSubmatch(e.Name()); m != nil {
			at, err := time.Parse(keptDate, m[1])
			if err == nil {
				files = append(files, KeptKey{File: dir.Path(e.Name()), KeptAt: at})
			}
		}
	}
	slices.SortStableFunc(files, func(a, b KeptKey) int {
		// Of the backups made within one second, a higher number is newer; the first one
		// has no number.
		return cmp.Or(b.KeptAt.Compare(a.KeptAt), cmp.Compare(len(b.File), len(a.File)), strings.Compare(b.File, a.File))
	})
	return files
}

// FindKept returns the kept key that begins with start, which must have 8 digits or more.
func FindKept(list []KeptKey, start string) (KeptKey, error) {
	var found []KeptKey
	if IsKeyStart(start) {
		for _, k := range list {
			if strings.HasPrefix(k.Mesh.Member.Public().String(), strings.ToLower(start)) {
				found = append(found, k)
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return KeptKey{}, fmt.Errorf("no kept key begins with %q; run `claudemesh keys` to see them (the first 8 digits are enough)", start)
	}
	return KeptKey{}, fmt.Errorf("%d kept keys begin with %q; give more digits", len(found), start)
}

// RestoreKey puts the mesh of a kept key back into the config, as it was. If the config
// has another member of that mesh, RestoreKey replaces it and returns the path of the file
// that keeps its key; otherwise replaced is "".
func RestoreKey(ctx context.Context, dir Dir, k KeptKey) (replaced string, err error) {
	return updateConfig(ctx, dir, func(c *Config) error {
		if i := c.index(k.Mesh.MeshID); i >= 0 {
			c.Meshes[i] = k.Mesh
		} else {
			c.Meshes = append(c.Meshes, k.Mesh)
		}
		return nil
	})
}

// Rename changes the slug of a joined mesh on this machine. It fails if another mesh has
// that slug.
func Rename(ctx context.Context, dir Dir, meshID, slug string) error {
	return UpdateConfig(ctx, dir, func(c *Config) error {
		i := c.index(meshID)
		if i < 0 {
			return fmt.Errorf("the mesh %s is no longer joined", meshID)
		}
		for j := range c.Meshes {
			if j != i && c.Meshes[j].Slug == slug {
				return fmt.Errorf("you already have a mesh with the slug %s, on %s", slug, c.Meshes[j].BrokerURL)
			}
		}
		c.Meshes[i].Slug = slug
		return c.Meshes[i].check()
	})
}

// backUpConfigLocked copies the config to a new file whose name has the date, and returns
// its path. It never overwrites a backup. The caller holds the config's lock.
func backUpConfigLocked(d Dir, now time.Time) (path string, err error) {
	b, err := os.ReadFile(d.Path(ConfigName))
	if err != nil {
		return "", fmt.Errorf("back up config: %w", err)
	}
	return keepConfigLocked(d, b, now)
}

// keepConfigLocked writes the text of a config to a new file. The caller holds the
// config's lock.
func keepConfigLocked(d Dir, b []byte, now time.Time) (path string, err error) {
	date := ConfigName + "." + now.UTC().Format(keptDate)
	name := date
	for n := 2; ; n++ {
		if _, err := os.Lstat(d.Path(name)); errors.Is(err, fs.ErrNotExist) {
			return filepath.Clean(d.Path(name)), d.WriteFile(name, b)
		} else if err != nil {
			return "", fmt.Errorf("back up config: %w", err)
		}
		name = fmt.Sprintf("%s-%d", date, n)
	}
}

// KeepKeys writes an earlier config to a file that KeptKeys finds, with its date in the
// name. It does so only if the earlier config has a key that is neither in the config nor
// in such a file.
func KeepKeys(ctx context.Context, dir Dir, was *Config, at time.Time) error {
	return underConfigLock(ctx, dir, func() error {
		config, err := readConfig(dir)
		if err != nil {
			return err
		}
		kept, _, err := KeptKeys(dir)
		if err != nil {
			return err
		}
		known := config.secrets()
		for _, k := range kept {
			known = append(known, k.Mesh.Member.SecretHex())
		}
		if !slices.ContainsFunc(was.Meshes, func(m Mesh) bool { return !slices.Contains(known, m.Member.SecretHex()) }) {
			return nil
		}
		b, err := was.encode()
		if err != nil {
			return err
		}
		_, err = keepConfigLocked(dir, b, at)
		return err
	})
}

// RestoreMeshes adds the meshes of another config to the config of dir, and returns how
// many are new. If a mesh is already there with another member, it stays as it is unless
// replace is set. In that case kept is the path of the file that keeps the config as it
// was; otherwise kept is "".
func RestoreMeshes(ctx context.Context, dir Dir, from *Config, replace bool) (added int, kept string, err error) {
	kept, err = updateConfig(ctx, dir, func(c *Config) error {
		added = 0
		if c.extra == nil {
			c.extra = from.extra
		}
		for _, m := range from.Meshes {
			i := c.index(m.MeshID)
			switch {
			case i < 0:
				c.Meshes = append(c.Meshes, m)
				added++
			case c.Meshes[i].Member.Public() == m.Member.Public():
				if c.Meshes[i].Key.IsZero() {
					c.Meshes[i].Key = m.Key
				}
			case replace:
				c.Meshes[i] = m
				added++
			}
		}
		return nil
	})
	return added, kept, err
}
