package plugin

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/claudemesh/claudemesh/peer"
)

// The names by which Claude Code knows what is written here.
const (
	Name        = "claudemesh"
	Marketplace = "claudemesh-local"
	ID          = Name + "@" + Marketplace
	Server      = "mesh" // of the tools: mcp__plugin_claudemesh_mesh__...
)

// HookProgram is the name of the program that is `claudemesh hook` and nothing else.
const HookProgram = "claudemesh-hook"

// Plugin is where the plugin has been written.
type Plugin struct {
	Marketplace string // directory for `claude plugin marketplace add`
	Root        string // directory for `claude --plugin-dir`
}

// event is an event of Claude Code's that the plugin listens to.
type event struct {
	Name  string
	Waits bool // starts the process that can wake an idle session
}

// events are all that say something about who is there and at work. Interrupting
// with Esc fires none.
var events = []event{
	{"SessionStart", true}, {"UserPromptSubmit", false}, {"PreToolUse", false}, {"PostToolBatch", false},
	{"Stop", true}, {"StopFailure", false}, {"Notification", false}, {"PermissionRequest", false}, {"SessionEnd", false},
}

// values are what the templates need.
type values struct {
	Plugin, Marketplace, Server string
	Events                      []event
	Executable                  string
	ConfigDir                   string // "" for the usual one
	Hook, Wait, Monitor         string // for a shell
}

//go:embed all:templates
var templates embed.FS

// At returns where the plugin of a config directory is, or will be.
func At(dir peer.Dir) Plugin {
	marketplace := dir.Path("plugin")
	return Plugin{Marketplace: marketplace, Root: filepath.Join(marketplace, Name)}
}

// Write makes the plugin of a config directory say that claudemesh is at the absolute
// path executable. It touches only files whose text is another, and each of them
// is the old one or the new one at any moment.
func Write(dir peer.Dir, executable string) (Plugin, error) {
	p := At(dir)
	if !filepath.IsAbs(executable) {
		return p, fmt.Errorf("write plugin: the path of claudemesh is not absolute: %s", executable)
	}
	files, err := render(dir, executable)
	if err != nil {
		return p, fmt.Errorf("write plugin: %w", err)
	}
	if err := dir.Make(); err != nil {
		return p, err
	}
	for name, text := range files {
		if err := writeFile(filepath.Join(p.Marketplace, filepath.FromSlash(name)), text); err != nil {
			return p, fmt.Errorf("write plugin: %w", err)
		}
	}
	return p, nil
}

// Current reports whether the plugin is there as Write would leave it.
func Current(dir peer.Dir, executable string) (bool, error) {
	files, err := render(dir, executable)
	if err != nil {
		return false, err
	}
	for name, text := range files {
		have, err := os.ReadFile(filepath.Join(At(dir).Marketplace, filepath.FromSlash(name)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("read plugin: %w", err)
		}
		if !bytes.Equal(have, text) {
			return false, nil
		}
	}
	return true, nil
}

// render returns the text of each file by its name.
func render(dir peer.Dir, executable string) (map[string][]byte, error) {
	v := values{
		Plugin: Name, Marketplace: Marketplace, Server: Server, Events: events, Executable: executable,
		Wait:    ShellCommand(dir, executable, "wait"),
		Monitor: patientCommand(dir, executable, "monitor"),
	}
	hook, args := Hook(executable)
	v.Hook = ShellCommand(dir, hook, args...)
	if !usual(dir) {
		v.ConfigDir = string(dir)
	}
	files := make(map[string][]byte)
	err := fs.WalkDir(templates, "templates", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		t, err := template.New(path.Base(name)).Funcs(template.FuncMap{"json": jsonText}).ParseFS(templates, name)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := t.Execute(&text, v); err != nil {
			return err
		}
		files[strings.TrimPrefix(name, "templates/")] = text.Bytes()
		return nil
	})
	return files, err
}

// Hook returns the command that runs the hook: the small program that is made for it,
// where that stands beside claudemesh, else claudemesh itself.
func Hook(executable string) (path string, args []string) {
	small := filepath.Join(filepath.Dir(executable), HookProgram)
	if info, err := os.Stat(small); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
		return small, []string{executable}
	}
	return executable, []string{"hook"}
}

const configVariable = "CLAUDEMESH_CONFIG_DIR"

// usual tells whether claudemesh finds the directory by itself.
func usual(dir peer.Dir) bool {
	home, err := os.UserHomeDir()
	return err == nil && string(dir) == filepath.Join(home, ".claudemesh")
}

// ShellCommand returns a command for a POSIX shell that becomes the program at the
// absolute path. It does nothing, silently, when the program is gone: a package manager
// may remove it in the middle of a session, and Claude Code shows each hook that it
// can't start.
func ShellCommand(dir peer.Dir, path string, args ...string) string {
	return "[ -x " + quote(path) + " ] || exit 0; " + become(dir, path, args)
}

// patientCommand is ShellCommand for a monitor: while the program is gone it waits, for as
// long as the process lives that has started the shell. Claude Code tells the model of a
// monitor that ends, and does not start it again.
func patientCommand(dir peer.Dir, path string, args ...string) string {
	return "until [ -x " + quote(path) + " ]; do kill -0 $PPID 2>/dev/null || exit 0; sleep 5; done; " + become(dir, path, args)
}

// become returns the command by which a shell becomes the program.
func become(dir peer.Dir, path string, args []string) string {
	command := "exec " + quote(path)
	for _, arg := range args {
		command += " " + quote(arg)
	}
	if !usual(dir) {
		command = configVariable + "=" + quote(string(dir)) + " " + command
	}
	return command
}

// quote makes one word of s for a POSIX shell. The name of a verb is one as it is.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func jsonText(v any) (string, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSpace(text.String()), err
}

// writeFile leaves a file alone that has that text already.
func writeFile(path string, text []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
