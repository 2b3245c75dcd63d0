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
	Claude     string   // path of claude; "" when there is none
	Env        []string // for claude; nil: that of this process
}

// Report is what has been done.
type Report struct {
	Changed    bool     // false: everything was so already
	StatusLine bool     // ours is shown
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

// Install writes the plugin, has Claude Code install it, and adds the status line if
// the user has none. To do it again brings up to date what has changed.
func (i *Installer) Install(ctx context.Context) (Report, error) {
	var report Report
	if i.Claude == "" {
		return report, errors.New("there is no claude to install the plugin with")
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
		// The user has changed something since, or a crash has left it halfway.
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
			_, undone := i.remove(context.WithoutCancel(ctx), r) // nothing stays of half an installation
			return report, errors.Join(err, undone)
		}
	}
	return i.finish(before, r, report)
}

// finish puts the user's text with our entries in the place of Claude Code's, which
// has another layout and is without what Claude Code does not understand.
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
		report.Notes = append(report.Notes, "you have a status line of your own, which stays; to see the mesh in it, let it call: "+command)
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

// run runs `claude plugin`. It is run in our own directory, because the settings of a
// project don't concern it.
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

// Uninstall takes the plugin and the status line out of Claude Code and restores its
// files. It reports what it could not undo in Report.Notes.
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
		report.Notes = append(report.Notes, "claude is not there to uninstall the plugin; its entries have been removed without it")
	} else if hasEntries(before.Text) || i.registered() {
		// What these can't do, because it is done already for example, is done below.
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

// Partly reports whether something of the plugin is in Claude Code's settings.
func (i *Installer) Partly() bool {
	now, err := take(i.claudePath(settingsName))
	return err == nil && hasEntries(now.Text)
}
