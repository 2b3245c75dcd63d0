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
	"github.com/claudemesh/claudemesh/peer/configdir"
)

// The names that Claude Code uses for the plugin.
const (
	pluginName  = "claudemesh"
	Marketplace = "claudemesh-local"
	ID          = pluginName + "@" + Marketplace
	serverName  = "mesh" // the tools are called mcp__plugin_claudemesh_mesh__...
)

// hookProgram is the name of a small program that only does `claudemesh hook`.
const hookProgram = "claudemesh-hook"

// Plugin is the location of the plugin.
type Plugin struct {
	Marketplace string // directory for `claude plugin marketplace add`
	Root        string // directory for `claude --plugin-dir`
}

// event is a Claude Code event that the plugin handles.
type event struct {
	Name  string
	Waits bool // also start the process that can wake an idle session
}

// events lists the events that say whether a session exists, and whether it works. If the user
// interrupts with Esc, Claude Code sends none.
var events = []event{
	{"SessionStart", true}, {"UserPromptSubmit", false}, {"PreToolUse", false}, {"PostToolBatch", false},
	{"Stop", true}, {"StopFailure", false}, {"Notification", false}, {"PermissionRequest", false}, {"SessionEnd", false},
}

// values are the values for the templates.
type values struct {
	Plugin, Marketplace, Server string
	Events                      []event
	Executable                  string
	ConfigDir                   string // "" for the default directory
	Hook, Wait, Monitor         string // shell commands
}

//go:embed all:templates
var templates embed.FS

// At returns the location of the plugin of a config directory.
func At(dir peer.Dir) Plugin {
	marketplace := dir.Path("plugin")
	return Plugin{Marketplace: marketplace, Root: filepath.Join(marketplace, pluginName)}
}

// Write writes the plugin of a config directory for the claudemesh at the absolute path
// executable. It replaces only files that have changed, and each of them atomically.
func Write(dir peer.Dir, executable string) (Plugin, error) {
	p := At(dir)
	if !filepath.IsAbs(executable) {
		return p, fmt.Errorf("write plugin: the path of claudemesh isn't absolute: %s", executable)
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

// Current reports whether the plugin is as Write would leave it.
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

// render returns the text of each file, by file name.
func render(dir peer.Dir, executable string) (map[string][]byte, error) {
	v := values{
		Plugin: pluginName, Marketplace: Marketplace, Server: serverName, Events: events, Executable: executable,
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

// Hook returns the command that runs the hook: hookProgram, if it is in the same directory as
// claudemesh, or else claudemesh itself.
func Hook(executable string) (path string, args []string) {
	small := filepath.Join(filepath.Dir(executable), hookProgram)
	if info, err := os.Stat(small); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
		return small, []string{executable}
	}
	return executable, []string{"hook"}
}

const configVariable = "CLAUDEMESH_CONFIG_DIR"

// usual reports whether dir is the default directory.
func usual(dir peer.Dir) bool {
	home, err := os.UserHomeDir()
	return err == nil && string(dir) == filepath.Join(home, ".claudemesh")
}

// ShellCommand returns a command for a POSIX shell that executes the program at the absolute
// path. If the program is missing, the command silently does nothing: a package manager may
// remove the program during a session, and Claude Code reports each hook that it can't start.
func ShellCommand(dir peer.Dir, path string, args ...string) string {
	return "[ -x " + quote(path) + " ] || exit 0; " + become(dir, path, args)
}

// patientCommand is ShellCommand for a monitor. While the program is missing, the command
// waits, until the process that started the shell ends. Claude Code tells the model if a
// monitor ends, and doesn't start it again.
func patientCommand(dir peer.Dir, path string, args ...string) string {
	return "until [ -x " + quote(path) + " ]; do kill -0 $PPID 2>/dev/null || exit 0; sleep 5; done; " + become(dir, path, args)
}

// become returns a shell command that executes the program in place of the shell.
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

// quote quotes s for a POSIX shell. It leaves lower-case words, such as verbs, unquoted.
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

// writeFile atomically replaces a file, unless it already has that text.
func writeFile(path string, text []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return configdir.Replace(path, text, 0o600, false) // the next Write mends what a loss of power damages
}
