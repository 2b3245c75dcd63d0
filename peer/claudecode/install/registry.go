package install

import (
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// registry lists the files in which Claude Code remembers plugins, and our entry in each.
var registry = []struct {
	name  string
	entry []string
}{
	{"plugins/known_marketplaces.json", []string{plugin.Marketplace}},
	{"plugins/installed_plugins.json", []string{"plugins", plugin.ID}},
}

// folders lists the folders that Claude Code creates for the first plugin, in this order.
var folders = []string{"plugins", "plugins/cache", "plugins/marketplaces", "plugins/data"}

// restoreRegistry removes our entries from the registry. It also restores files and removes
// folders that contain nothing else.
func (i *Installer) restoreRegistry(r *record) error {
	for _, file := range registry {
		path := i.claudePath(file.name)
		now, err := take(path)
		if err != nil {
			return err
		}
		if !now.there() || settings.Check(now.Text) != nil {
			continue
		}
		next := now
		next.Text, _ = settings.Remove(now.Text, file.entry...)
		before, known := r.Registry[file.name]
		if known && (before.there() && settings.Equal(next.Text, before.Text) || !before.there() && listsNothing(next.Text)) {
			next = before
		}
		if err := next.put(path); err != nil {
			return err
		}
	}
	// Claude Code leaves a copy of the plugin behind and only removes it at a later start.
	if err := os.RemoveAll(i.claudePath("plugins/cache/" + plugin.Marketplace)); err != nil {
		return err
	}
	for n := len(r.NewFolders) - 1; n >= 0; n-- {
		_ = os.Remove(i.claudePath(r.NewFolders[n])) // fails if the folder isn't empty
	}
	return nil
}

// listsNothing reports whether a registry file looks as Claude Code leaves it after removing
// the last entry.
func listsNothing(text []byte) bool {
	text, _ = settings.Remove(text, "version")
	return settings.Equal(text, []byte(`{}`)) || settings.Equal(text, []byte(`{"plugins":{}}`))
}

// claudePath returns the path of a file in Claude Code's directory.
func (i *Installer) claudePath(name string) string {
	return filepath.Join(i.ConfigDir, filepath.FromSlash(name))
}
