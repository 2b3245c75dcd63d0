package install

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// Our entries in settings.json.
var (
	marketplacePath = []string{"extraKnownMarketplaces", plugin.Marketplace}
	enabledPath     = []string{"enabledPlugins", plugin.ID}
	statusLinePath  = []string{"statusLine"}
)

// statusLine is the setting statusLine.
type statusLine struct {
	Type    string `json:"type"`
	Command string `json:"command"`
}

// with adds our entries to the settings. It adds the status line only if the user has none;
// ours reports whether the status line in the result is ours.
func with(text []byte, marketplace, command string) (out []byte, ours bool, err error) {
	source := map[string]any{"source": map[string]string{"source": "directory", "path": marketplace}}
	if have, ok := settings.Lookup(text, marketplacePath...); !ok || sourcePath(have) != marketplace {
		if text, err = settings.Set(text, source, marketplacePath...); err != nil {
			return nil, false, err
		}
	}
	if text, err = settings.Set(text, true, enabledPath...); err != nil {
		return nil, false, err
	}
	have, ok := settings.Lookup(text, statusLinePath...)
	if ok && !ourStatusLine(have) {
		return text, false, nil
	}
	text, err = settings.Set(text, statusLine{"command", command}, statusLinePath...)
	return text, true, err
}

// sourcePath returns the directory of a marketplace, or "" if its source isn't a directory.
func sourcePath(entry json.RawMessage) string {
	var v struct {
		Source struct{ Source, Path string }
	}
	if json.Unmarshal(entry, &v) != nil || v.Source.Source != "directory" {
		return ""
	}
	return v.Source.Path
}

// ourStatusLine reports whether any claudemesh has written this status line.
func ourStatusLine(entry json.RawMessage) bool {
	var v statusLine
	return json.Unmarshal(entry, &v) == nil && strings.Contains(v.Command, "claudemesh") && strings.HasSuffix(v.Command, " statusline")
}

// hasEntries reports whether the settings contain any of our entries.
func hasEntries(text []byte) bool {
	for _, path := range [][]string{marketplacePath, enabledPath} {
		if _, ok := settings.Lookup(text, path...); ok {
			return true
		}
	}
	line, ok := settings.Lookup(text, statusLinePath...)
	return ok && ourStatusLine(line)
}

// without removes our entries from the settings. It also removes the objects that contained
// them, if these are empty now and don't exist in before.
func without(text, before []byte) []byte {
	for _, path := range [][]string{marketplacePath, enabledPath} {
		text, _ = settings.Remove(text, path...)
		left, ok := settings.Lookup(text, path[0])
		if _, was := settings.Lookup(before, path[0]); ok && !was && settings.Equal(left, []byte("{}")) {
			text, _ = settings.Remove(text, path[0])
		}
	}
	if line, ok := settings.Lookup(text, statusLinePath...); ok && ourStatusLine(line) {
		text, _ = settings.Remove(text, statusLinePath...)
	}
	return text
}

// checkSettings returns an error for a settings file that can't be edited.
func checkSettings(path string, text []byte) error {
	if err := settings.Check(text); err != nil {
		return fmt.Errorf("%s is %w; repair the file first", path, err)
	}
	return nil
}
