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

// keptDate is the date in the name of a file that keeps a config as it was, see backUpConfig.
const keptDate = "20060102T150405Z"

// keptName is the name of such a file.
var keptName = regexp.MustCompile(`^config\.json\.(\d{8}T\d{6}Z)(-\d+)?$`)

// KeptKey is a member key that the config has had and has no more, in the mesh as it was.
type KeptKey struct {
	Mesh   Mesh
	File   string    // the path of the newest file that has it
	KeptAt time.Time // to the second
}

// KeptKeys returns the member keys that are in files of dir which keep the config as it
// was, and not in the config; the newest come first. problems says which files could not be read.
func KeptKeys(dir Dir) (list []KeptKey, problems []string, err error) {
	config, err := LoadConfig(dir)
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

// keptFiles returns the files that keep the config as it was, the newest first.
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
		// Of one second, the one with the higher number is newer, and none has the lowest.
		return cmp.Or(b.KeptAt.Compare(a.KeptAt), cmp.Compare(len(b.File), len(a.File)), strings.Compare(b.File, a.File))
	})
	return files
}

// FindKept returns the kept key that begins so, with 8 digits or more.
func FindKept(list []KeptKey, start string) (KeptKey, error) {
	var found []KeptKey
	if isKeyStart(start) {
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
		return KeptKey{}, fmt.Errorf("no kept key begins with %q; `claudemesh keys` lists them, and 8 digits of one are enough", start)
	}
	return KeptKey{}, fmt.Errorf("%d kept keys begin with %q; give more digits", len(found), start)
}

// RestoreKey puts the mesh of a kept key into the config, as it was, in the place of the
// member that is there in the mesh, if there is one. replaced is the file that keeps that
// one's key then, else "".
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

// index returns where a mesh is in the config, -1 for nowhere.
func (c *Config) index(meshID string) int {
	return slices.IndexFunc(c.Meshes, func(m Mesh) bool { return m.MeshID == meshID })
}

// Rename changes what a joined mesh is called on this machine. It fails if another one
// is called so.
func Rename(ctx context.Context, dir Dir, meshID, slug string) error {
	return UpdateConfig(ctx, dir, func(c *Config) error {
		i := c.index(meshID)
		if i < 0 {
			return fmt.Errorf("the mesh %s is not joined any more", meshID)
		}
		for j := range c.Meshes {
			if j != i && c.Meshes[j].Slug == slug {
				return fmt.Errorf("you have a mesh called %s already, on %s", slug, c.Meshes[j].BrokerURL)
			}
		}
		c.Meshes[i].Slug = slug
		return c.Meshes[i].check()
	})
}

// backUpConfig copies the config to a file of its own, whose name has the date, and
// returns its path. No backup replaces another. The caller holds the config's lock.
func backUpConfig(d Dir, now time.Time) (path string, err error) {
	b, err := os.ReadFile(d.Path(configName))
	if err != nil {
		return "", fmt.Errorf("back up config: %w", err)
	}
	date := configName + "." + now.UTC().Format(keptDate)
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
