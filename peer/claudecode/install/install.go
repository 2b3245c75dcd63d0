package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// Installer installs one claudemesh in one Claude Code.
type Installer struct {
	Dir        peer.Dir // of claudemesh
	ConfigDir  string   // of the Claude Code that runs in Env
	Executable string   // absolute path of claudemesh
	Claude     string   // path of claude; "" if there is none
	Env        []string // of claude; nil means the environment of this process
}

// Report says what Install or Uninstall has done.
type Report struct {
	Changed    bool     // false if there was nothing to do
	StatusLine bool     // the status line is ours
	Notes      []string // what the user should know
}

const (
	settingsName  = "settings.json"
	commandLimit  = 2 * time.Minute
	lockLimit     = 30 * time.Second
	maxComplaint  = 500 // bytes of claude's output in an error
	statusVerb    = "statusline"
	disableUpdate = "DISABLE_AUTOUPDATER=1"
	disableOther  = "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL=1"
)

func (i *Installer) lock(ctx context.Context) (*peer.FileLock, error) {
	if err := i.Dir.Make(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	return peer.Lock(ctx, i.Dir.Path("install.lock"))
}

// Installed reports whether the plugin of this claudemesh is enabled in Claude Code.
func (i *Installer) Installed() (bool, error) {
	now, err := take(i.claudePath(settingsName))
	if err != nil {
		return false, err
	}
	return i.enabled(now.Text) && i.registered(), nil
}

func (i *Installer) enabled(text []byte) bool {
	enabled, _ := settings.Lookup(text, enabledPath...)
	source, _ := settings.Lookup(text, marketplacePath...)
	return string(enabled) == "true" && sourcePath(source) == plugin.At(i.Dir).Marketplace
}

func (i *Installer) registered() bool {
	for _, file := range registry {
		s, err := take(i.claudePath(file.name))
		if err != nil {
			return false
		}
		if _, ok := settings.Lookup(s.Text, file.entry...); !ok {
			return false
		}
	}
	return true
}

// Install writes the plugin, makes Claude Code install it, and adds the status line if the
// user has none. Calling it again updates an installation.
func (i *Installer) Install(ctx context.Context) (Report, error) {
	var report Report
	if i.Claude == "" {
		return report, errors.New("install the plugin: claude was not found")
	}
	lock, err := i.lock(ctx)
	if err != nil {
		return report, err
	}
	defer lock.Unlock()
	before, err := take(i.claudePath(settingsName))
	if err == nil {
		err = checkSettings(i.claudePath(settingsName), before.Text)
	}
	if err != nil {
		return report, err
	}
	current, err := plugin.Current(i.Dir, i.Executable)
	if err != nil {
		return report, err
	}
	if _, err := plugin.Write(i.Dir, i.Executable); err != nil {
		return report, err
	}
	report.Changed = !current
	r, err := i.load()
	if err != nil {
		return report, err
	}
	switch {
	case r == nil || !hasEntries(before.Text):
		r, err = i.begin(before)
	case !before.same(r.Left):
		// The user has changed the settings since, or an installation has crashed halfway.
		if clean := without(before.Text, r.Before.Text); !settings.Equal(clean, r.Before.Text) {
			r.Before.Text = clean
		}
	}
	if err != nil {
		return report, err
	}
	if !i.enabled(before.Text) || !i.registered() {
		report.Changed = true
		if err := i.addPlugin(ctx); err != nil {
			_, undone := i.remove(context.WithoutCancel(ctx), r) // don't leave half an installation behind
			return report, errors.Join(err, undone)
		}
	}
	return i.finish(before, r, report)
}

// finish replaces Claude Code's version of the settings by the user's text plus our entries.
// Claude Code changes the layout and drops what it doesn't understand.
func (i *Installer) finish(before snapshot, r *record, report Report) (Report, error) {
	path := i.claudePath(settingsName)
	command := plugin.ShellCommand(i.Dir, i.Executable, statusVerb)
	want, ours, err := with(before.Text, plugin.At(i.Dir).Marketplace, command)
	if err != nil {
		return report, fmt.Errorf("%s: %w", path, err)
	}
	left := snapshot{want}
	if err := left.put(path); err != nil {
		return report, err
	}
	report.StatusLine = ours
	report.Changed = report.Changed || !left.same(before)
	if !ours {
		report.Notes = append(report.Notes, "your own status line stays; to show the mesh in it, make it call: "+command)
	}
	r.Left = left
	return report, i.save(r)
}

func (i *Installer) addPlugin(ctx context.Context) error {
	if err := i.run(ctx, "marketplace", "add", plugin.At(i.Dir).Marketplace); err != nil {
		return err
	}
	return i.run(ctx, "install", plugin.ID)
}

// run runs `claude plugin`. It uses our own directory as the working directory, so that the
// settings of a project don't matter.
func (i *Installer) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, i.Claude, append([]string{"plugin"}, args...)...)
	cmd.Dir = string(i.Dir)
	env := i.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(program.CleanEnv(env), disableUpdate, disableOther)
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out[:min(len(out), maxComplaint)]))
		return fmt.Errorf("claude plugin %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return nil
}

// Uninstall removes the plugin and the status line from Claude Code and restores its files.
// Report.Notes says what it could not undo.
func (i *Installer) Uninstall(ctx context.Context) (Report, error) {
	lock, err := i.lock(ctx)
	if err != nil {
		return Report{}, err
	}
	defer lock.Unlock()
	r, err := i.load()
	if err != nil {
		return Report{}, err
	}
	now, err := take(i.claudePath(settingsName))
	if err != nil {
		return Report{}, err
	}
	if r == nil && !hasEntries(now.Text) {
		return Report{}, nil
	}
	if r == nil {
		r = &record{Before: snapshot{without(now.Text, nil)}}
	}
	return i.remove(ctx, r)
}

func (i *Installer) remove(ctx context.Context, r *record) (Report, error) {
	report := Report{Changed: true}
	path := i.claudePath(settingsName)
	before, err := take(path)
	if err == nil {
		err = checkSettings(path, before.Text)
	}
	if err != nil {
		return report, err
	}
	if i.Claude == "" {
		report.Notes = append(report.Notes, "claude was not found, so claudemesh has removed the plugin's entries itself")
	} else if hasEntries(before.Text) || i.registered() {
		// Errors don't matter: the code below removes whatever is left.
		for _, args := range [][]string{{"uninstall", plugin.ID}, {"marketplace", "remove", plugin.Marketplace}} {
			if err := i.run(ctx, args...); err != nil && ctx.Err() != nil {
				return report, err
			}
		}
	}
	next := snapshot{without(before.Text, r.Before.Text)}
	switch {
	case !before.there():
		next = before
	case settings.Equal(next.Text, r.Before.Text):
		next = r.Before
	}
	if err := next.put(path); err != nil {
		return report, err
	}
	if err := i.restoreRegistry(r); err != nil {
		return report, err
	}
	return report, i.forget()
}

// Partly reports whether Claude Code's settings contain any of our entries.
func (i *Installer) Partly() bool {
	now, err := take(i.claudePath(settingsName))
	return err == nil && hasEntries(now.Text)
}
