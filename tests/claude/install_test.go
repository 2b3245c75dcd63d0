package claude

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// settings holds settings files that a person edited by hand.
var settings = map[string]string{
	"settings.json":       "{\n\t\"theme\":   \"dark\",\n  \"hooks\": {\"Stop\": [ {\"hooks\":[{\"type\":\"command\",\"command\":\"true\"}]} ]},\n\"env\": {\"B\":\"1\",\"A\":\"\\u00e9 & <x>\"}}\n\n",
	"settings.local.json": "{}",
	"CLAUDE.md":           "be kind\n",
	"agents/x.md":         "---\nname: x\ndescription: y\n---\n",
	"keybindings.json":    "{\"bindings\":[]}",
}

func (p *person) writeSettings() {
	p.t.Helper()
	for name, text := range settings {
		file := filepath.Join(p.Dir, ".claude", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			p.t.Fatal(err)
		}
	}
}

// files returns all of Claude Code's files in the home, with mode and content.
func (p *person) files() map[string]string {
	p.t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(p.Dir, ".claude"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(filepath.Join(p.Dir, ".claude"), path)
		all[name] = info.Mode().String() + " " + string(b)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	return all
}

// TestLaunchTouchesNothing checks that a launch doesn't write to Claude Code's files: existing
// files stay unchanged, and only Claude Code itself writes new ones, like without claudemesh.
func TestLaunchTouchesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		for _, p := range []*person{alice, bob} {
			p.writeSettings()
		}
		before := bob.files()
		a, b := alice.Start(t, "claude"), bob.launch()
		a.Ask("hello")
		alice.awaitRow(b, "idle")
		w.use(b, tool+"list_peers", "{}")
		a.Exit()
		b.Exit()
		after := bob.files()
		for name, was := range before {
			if after[name] != was {
				t.Errorf("%s was %q, is %q", name, was, after[name])
			}
		}
		own := parts(alice.files())
		for part := range parts(after) {
			if !own[part] && part != "plugins" { // Claude Code creates a data folder for a plugin
				t.Errorf("%s is new: %v", part, slices.Sorted(maps.Keys(after)))
			}
		}
		for name := range after {
			if strings.HasPrefix(name, "plugins/") && !strings.HasPrefix(name, "plugins/data/") {
				t.Errorf("%s is new", name)
			}
		}
	})
}

// parts returns the first path elements of the names.
func parts(files map[string]string) map[string]bool {
	all := make(map[string]bool)
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		all[first] = true
	}
	return all
}

// TestInstall checks that install makes every session a peer, and that uninstall leaves no
// trace in the settings.
func TestInstall(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice := w.person("alice")
		for name, empty := range map[string]bool{"bob": true, "carol": false} {
			bob := w.person(name)
			if !empty {
				bob.writeSettings()
			}
			before := bob.files()
			bob.must("install")
			bob.must("install") // installing again changes nothing
			if now := bob.files(); now["settings.json"] == before["settings.json"] {
				t.Error("install has not changed the settings")
			}
			bob.await("doctor finds no problem", func() bool { // the database may be slow on a busy machine
				_, _, code := bob.Run(t, "claudemesh", "doctor")
				return code == 0
			})
			b := bob.Start(t, "claude", "--name", "plain")
			r := alice.awaitRow(b, "idle")
			b.Ask("hello")
			b.Exit()
			alice.await("alice sees that bob has left", func() bool {
				rows := alice.sessions()
				return rows != nil && !slices.ContainsFunc(rows, func(other row) bool { return other.Pubkey == r.Pubkey })
			})
			// A launch with an installed claudemesh is only one session, too.
			b = bob.launch()
			alice.awaitRow(b, "idle")
			if rows := alice.sessions(); len(rows) != 1 {
				t.Errorf("alice sees %+v", rows)
			}
			b.Exit()
			bob.must("uninstall")
			after := bob.files()
			for name := range settings {
				if after[name] != before[name] {
					t.Errorf("%s was %q, is %q", name, before[name], after[name])
				}
			}
			b = bob.Start(t, "claude")
			b.Ask("hello")
			if rows := alice.sessions(); len(rows) != 0 {
				t.Errorf("after uninstall alice sees %+v", rows)
			}
			b.Exit()
		}
	})
}

// TestPluginIsValid validates the plugin with Claude Code's own validator.
func TestPluginIsValid(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice := w.person("alice")
		alice.launch().Exit()
		for _, dir := range []string{"plugin", "plugin/claudemesh"} {
			out, errOut, code := alice.Run(t, "claude", "plugin", "validate", filepath.Join(alice.Dir, ".claudemesh", dir))
			if code != 0 {
				t.Errorf("%s: exit code %d\n%s%s", dir, code, out, errOut)
			}
		}
	})
}

// TestLaunchPassesOn checks that launch passes on arguments, exit code and signals of the
// program, and what it says if there is no program.
func TestLaunchPassesOn(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice := w.person("alice")
		out, errOut, code := alice.Run(t, "claudemesh", "launch", "-y", "--quiet", "--", "-p", "say ok")
		if code != 0 || strings.TrimSpace(out) != "ok" {
			t.Errorf("launch -- -p: exit code %d\n%s%s", code, out, errOut)
		}
		out, errOut, code = alice.Run(t, "claudemesh", "launch", "-y", "--quiet", "--", "--resume", "44444444-4444-4444-8444-444444444444", "-p", "x")
		if code != 1 || !strings.Contains(out+errOut, "No conversation found") {
			t.Errorf("launch of an unknown session: exit code %d\n%s%s", code, out, errOut)
		}
		if err := os.Remove(filepath.Join(alice.Dir, "bin", "claude")); err != nil {
			t.Fatal(err)
		}
		if _, errOut, code := alice.Run(t, "claudemesh", "launch", "-y"); code == 0 || !strings.Contains(errOut, "claude") {
			t.Errorf("launch without claude: exit code %d, %s", code, errOut)
		}
	})
}
