package install

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// The entries of settings.json that are ours.
var (
	marketplacePath = []string{"extraKnownMarketplaces", plugin.Marketplace}
	enabledPath     = []string{"enabledPlugins", plugin.ID}
	statusLinePath  = []string{"statusLine"}
)

// statusLine is the status line's setting.
type statusLine struct {
	Type    string `json:"type"`
	Command string `json:"command"`
}

// with returns the settings with our entries; the status line only if the user has
// none. It tells whether the status line is ours then.
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

// sourcePath is the directory of a marketplace's entry; "" when it is none.
func sourcePath(entry json.RawMessage) string {
	var v struct {
		Source struct{ Source, Path string }
	}
	if json.Unmarshal(entry, &v) != nil || v.Source.Source != "directory" {
		return ""
	}
	return v.Source.Path
}

// ourStatusLine recognizes what with has written, by whichever claudemesh.
func ourStatusLine(entry json.RawMessage) bool {
	var v statusLine
	return json.Unmarshal(entry, &v) == nil && strings.Contains(v.Command, "claudemesh") && strings.HasSuffix(v.Command, " statusline")
}

// hasEntries tells whether anything of ours is in the settings.
func hasEntries(text []byte) bool {
	for _, path := range [][]string{marketplacePath, enabledPath} {
		if _, ok := settings.Lookup(text, path...); ok {
			return true
		}
	}
	line, ok := settings.Lookup(text, statusLinePath...)
	return ok && ourStatusLine(line)
}

// without returns the settings without our entries, and without the objects that
// held them if they are empty and were not there in before.
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

// checkSettings says in words what to do about settings that can't be changed.
func checkSettings(path string, text []byte) error {
	if err := settings.Check(text); err != nil {
		return fmt.Errorf("%s is %w; repair it first", path, err)
	}
	return nil
}
