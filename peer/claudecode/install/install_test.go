package install

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// standIn is a program that handles plugins like Claude Code.
var standIn string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "install-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		standIn = filepath.Join(dir, "claude")
		cmd := exec.Command("go", "build", "-o", standIn, "github.com/claudemesh/claudemesh/tests/internal/standin")
		if out, err := cmd.CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

// forEach runs a test with the stand-in and, if it is installed, with the real claude.
func forEach(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	programs := map[string]string{"stand-in": standIn}
	if real := os.Getenv("CLAUDEMESH_REAL_CLAUDE"); real != "" {
		programs["claude"] = real
	}
	for name, path := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, path))
		})
	}
}

// world is a home directory with one Claude Code in it.
type world struct {
	*Installer
	t    *testing.T
	home string
}

func newWorld(t *testing.T, claude string) *world {
	home := t.TempDir()
	return &world{t: t, home: home, Installer: &Installer{
		Dir: peer.Dir(filepath.Join(home, ".claudemesh")), ConfigDir: filepath.Join(home, ".claude"),
		Executable: "/opt/claudemesh/bin/claudemesh", Claude: claude,
		Env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "DISABLE_TELEMETRY=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"},
	}}
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.claudePath(name)), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.claudePath(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// read returns the text of a file, or "absent" if it doesn't exist.
func (w *world) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.claudePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) install() Report {
	w.t.Helper()
	r, err := w.Install(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if ok, err := w.Installed(); !ok || err != nil {
		w.t.Fatalf("installed: %v, %v\n%s", ok, err, w.read("settings.json"))
	}
	return r
}

func (w *world) uninstall() Report {
	w.t.Helper()
	r, err := w.Uninstall(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if ok, _ := w.Installed(); ok {
		w.t.Fatal("still installed")
	}
	return r
}

var layouts = map[string]string{
	"absent":          "absent",
	"empty":           "",
	"no members":      "{ }\n",
	"one line":        `{"model":"opus","env":{"A":"1"}}`,
	"plain":           "{\n  \"model\": \"opus\"\n}\n",
	"tabs":            "{\n\t\"z\": [ 1,2 ],\n\n\t\"a\" : {\"b\":{} }\n}",
	"Windows":         "{\r\n  \"model\": \"opus\"\r\n}\r\n",
	"byte order mark": "\ufeff{\r\n\t\"model\": \"opus\"\r\n}\r\n",
	"own line":        "{\n  \"statusLine\": {\"type\": \"command\", \"command\": \"date\"},\n  \"model\": \"opus\"\n}\n",
	"others":          "{\n  \"enabledPlugins\": {\"x@y\": false},\n  \"extraKnownMarketplaces\": {},\n  \"model\": \"opus\" }\n",
}

// TestInstallAndUninstallLeaveNothing checks that after install and uninstall, the settings
// are the same, byte for byte.
func TestInstallAndUninstallLeaveNothing(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		program := w.Claude
		for name, text := range layouts {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, program)
				if text != "absent" {
					w.write("settings.json", text)
				}
				r := w.install()
				if !r.Changed || r.StatusLine != (name != "own line") || r.StatusLine != (len(r.Notes) == 0) {
					t.Errorf("report: %+v", r)
				}
				after := w.read("settings.json")
				if name == "own line" && !strings.Contains(after, "date") {
					t.Errorf("the user's status line is gone: %s", after)
				}
				if kept := strings.TrimRight(text, "} \r\n"); name != "absent" && !strings.HasPrefix(after, kept) && name != "others" {
					t.Errorf("the layout changed:\n%s\nwas\n%s", after, text)
				}
				if r := w.install(); r.Changed || w.read("settings.json") != after {
					t.Errorf("a second time: %+v\n%s", r, w.read("settings.json"))
				}
				w.uninstall()
				if got := w.read("settings.json"); got != text {
					t.Errorf("got\n%q, want\n%q", got, text)
				}
				for _, name := range []string{"plugins", w.recordName()} {
					if got, err := os.Stat(w.claudePath(name)); err == nil {
						t.Errorf("left behind: %s", got.Name())
					}
				}
				if r := w.uninstall(); r.Changed || w.read("settings.json") != text {
					t.Errorf("uninstalled a second time: %+v", r)
				}
			})
		}
	})
}

// TestUninstallKeepsChanges checks that Uninstall keeps the user's changes and removes only
// our entries.
func TestUninstallKeepsChanges(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.write("settings.json", "{\n    \"model\": \"opus\"\n}\n")
		w.install()
		changed, err := settings.Set([]byte(w.read("settings.json")), []string{"what claude would drop"}, "permissions", "allow")
		if err != nil {
			t.Fatal(err)
		}
		w.write("settings.json", string(changed))
		if r := w.install(); r.Changed {
			t.Errorf("a second time: %+v", r)
		}
		w.uninstall()
		want := "{\n    \"model\": \"opus\",\n    \"permissions\": {\n        \"allow\": [\n            \"what claude would drop\"\n        ]\n    }\n}\n"
		if got := w.read("settings.json"); got != want {
			t.Errorf("got\n%s", got)
		}
	})
}

// TestUninstallWithoutClaude checks that Uninstall removes the entries even without claude
// and without a record.
func TestUninstallWithoutClaude(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.write("settings.json", `{"model":"opus"}`)
		w.install()
		w.Claude = ""
		if err := os.Remove(w.Dir.Path(w.recordName())); err != nil {
			t.Fatal(err)
		}
		if r := w.uninstall(); len(r.Notes) != 1 {
			t.Errorf("%+v", r)
		}
		if got := w.read("settings.json"); got != `{"model":"opus"}` {
			t.Errorf("got %s", got)
		}
		for _, file := range registry {
			if _, ok := settings.Lookup([]byte(w.read(file.name)), file.entry...); ok {
				t.Errorf("%s: %s", file.name, w.read(file.name))
			}
		}
	})
}

// keepsLink installs and uninstalls while a file of Claude Code's is a symbolic link, which must stay.
func (w *world) keepsLink(name, target string) {
	w.t.Helper()
	if err := os.Symlink(target, w.claudePath(name)); err != nil {
		w.t.Fatal(err)
	}
	w.install()
	w.uninstall()
	if got, err := os.Readlink(w.claudePath(name)); got != target || err != nil {
		w.t.Errorf("the link %s leads to %q, %v; want %s", name, got, err, target)
	}
}

func TestSymbolicLinkStays(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.write("dotfiles/claude.json", "{ \"model\" : \"opus\" }")
		w.keepsLink("settings.json", "dotfiles/claude.json")
		if got := w.read("settings.json"); got != "{ \"model\" : \"opus\" }" {
			t.Errorf("got %s", got)
		}
		info, err := os.Stat(w.claudePath("settings.json"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	})
}

// TestLinkToNothingStays checks that uninstall doesn't remove a link whose file did not exist before.
func TestLinkToNothingStays(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.write("dotfiles/other", "")
		w.keepsLink("settings.json", "dotfiles/claude.json")
		if got := w.read("dotfiles/claude.json"); got != "absent" {
			t.Errorf("left behind: %s", got)
		}
	})
}

// TestOtherPluginsStay checks that other plugins stay, and so do the files that list them.
func TestOtherPluginsStay(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		other := filepath.Join(w.home, "other")
		if _, err := plugin.Write(peer.Dir(other), "/bin/true"); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"plugin/.claude-plugin/marketplace.json":       `{"name":"elsewhere","owner":{"name":"x"},"plugins":[{"name":"other","source":"./claudemesh"}]}`,
			"plugin/claudemesh/.claude-plugin/plugin.json": `{"name":"other","version":"1.0.0"}`,
		} {
			if err := os.WriteFile(filepath.Join(other, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Dir.Make(); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"marketplace", "add", filepath.Join(other, "plugin")}, {"install", "other@elsewhere"}} {
			if err := w.run(context.Background(), args...); err != nil {
				t.Fatal(err)
			}
		}
		files := []string{"settings.json", registry[0].name, registry[1].name}
		before := make(map[string]string)
		for _, name := range files {
			before[name] = w.read(name)
		}
		w.install()
		w.uninstall()
		for _, name := range files {
			if got := w.read(name); got != before[name] {
				t.Errorf("%s: got\n%s, want\n%s", name, got, before[name])
			}
		}
		if _, err := os.Stat(w.claudePath("plugins/cache/elsewhere")); err != nil {
			t.Error(err)
		}
	})
}

// TestInstallAgainFromElsewhere checks that installing again updates the path of
// claudemesh, for example after an upgrade.
func TestInstallAgainFromElsewhere(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.install()
		w.Executable = "/usr/local/bin/claudemesh"
		if r := w.install(); !r.Changed || !r.StatusLine {
			t.Errorf("%+v", r)
		}
		line, _ := settings.Lookup([]byte(w.read("settings.json")), "statusLine")
		var v statusLine
		if err := json.Unmarshal(line, &v); err != nil || !strings.Contains(v.Command, "'/usr/local/bin/claudemesh' statusline") {
			t.Errorf("%s, %v", line, err)
		}
		w.uninstall()
		if got := w.read("settings.json"); got != "absent" {
			t.Errorf("got %s", got)
		}
	})
}

func TestInstallRefusesBrokenSettings(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		for _, text := range []string{"{ // comment\n}", `{"a":1,}`, `[]`, `{"enabledPlugins":`} {
			w.write("settings.json", text)
			if _, err := w.Install(context.Background()); err == nil || !strings.Contains(err.Error(), "settings.json") {
				t.Errorf("%q: %v", text, err)
			}
			if got := w.read("settings.json"); got != text {
				t.Errorf("%q became %q", text, got)
			}
		}
	})
}

// TestFailedInstallLeavesNothing checks that an installation that fails halfway is undone.
func TestFailedInstallLeavesNothing(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.write("settings.json", "{ \"model\": \"opus\" }")
		half := filepath.Join(w.home, "half")
		script := "#!/bin/sh\nif [ \"$2\" = install ]; then echo no luck >&2; exit 1; fi\nexec " + w.Claude + " \"$@\"\n"
		if err := os.WriteFile(half, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		w.Claude = half
		_, err := w.Install(context.Background())
		if err == nil || !strings.Contains(err.Error(), "no luck") {
			t.Errorf("got %v", err)
		}
		if got := w.read("settings.json"); got != "{ \"model\": \"opus\" }" {
			t.Errorf("got %s", got)
		}
		if _, err := os.Stat(w.claudePath("plugins")); err == nil {
			_ = filepath.WalkDir(w.claudePath("plugins"), func(path string, _ fs.DirEntry, _ error) error {
				t.Error("left behind:", path)
				return nil
			})
		}
		w.Claude = ""
		if _, err := w.Install(context.Background()); err == nil {
			t.Error("installed without claude")
		}
	})
}

func TestConcurrentInstalls(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		w.write("settings.json", "{ \"model\": \"opus\" }")
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				if _, err := w.Install(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		w.uninstall()
		if got := w.read("settings.json"); got != "{ \"model\": \"opus\" }" {
			t.Errorf("got %s", got)
		}
	})
}

// TestValidate checks that Claude Code accepts the plugin.
func TestValidate(t *testing.T) {
	forEach(t, func(t *testing.T, w *world) {
		p, err := plugin.Write(w.Dir, w.Executable)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{p.Marketplace, p.Root} {
			if err := w.run(context.Background(), "validate", "--strict", dir); err != nil {
				t.Error(err)
			}
		}
	})
}
