package install

import (
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// registry are the files in which Claude Code remembers plugins, with our entry in
// each.
var registry = []struct {
	name  string
	entry []string
}{
	{"plugins/known_marketplaces.json", []string{plugin.Marketplace}},
	{"plugins/installed_plugins.json", []string{"plugins", plugin.ID}},
}

// folders are made by Claude Code when the first plugin comes, in this order.
var folders = []string{"plugins", "plugins/cache", "plugins/marketplaces", "plugins/data"}

// restoreRegistry takes out what Claude Code still remembers of us, and undoes the
// traces that are left when there is nothing else in them.
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
	// Claude Code leaves a copy behind, to be removed by a later start of it.
	if err := os.RemoveAll(i.claudePath("plugins/cache/" + plugin.Marketplace)); err != nil {
		return err
	}
	for n := len(r.NewFolders) - 1; n >= 0; n-- {
		_ = os.Remove(i.claudePath(r.NewFolders[n])) // fails when something else is in it by now
	}
	return nil
}

// listsNothing tells whether a file of the registry is as Claude Code leaves it when
// the last entry goes.
func listsNothing(text []byte) bool {
	text, _ = settings.Remove(text, "version")
	return settings.Equal(text, []byte(`{}`)) || settings.Equal(text, []byte(`{"plugins":{}}`))
}

// claudePath returns the path of something in Claude Code's directory.
func (i *Installer) claudePath(name string) string {
	return filepath.Join(i.ConfigDir, filepath.FromSlash(name))
}
