package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/claudecode/diagnose"
	"github.com/claudemesh/claudemesh/peer/claudecode/install"
	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// settleTime is how long a daemon that has just started may take to connect.
	settleTime = 3 * time.Second
	// statusTimeout is how long the daemon may take to report its status.
	statusTimeout = 5 * time.Second
)

func (d *doctor) found(check string, ok bool, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, OK: ok, Detail: fmt.Sprintf(format, args...)})
}

// repairKeys closes the session keys to other users. It returns a line for each file that it
// changed, and for each damaged key.
func repairKeys(root string) (changed []string, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no keys yet, or removed in the meantime
		}
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		mode := info.Mode().Perm()
		if err := os.Chmod(path, mode&^0o077); err != nil {
			return err
		}
		changed = append(changed, fmt.Sprintf("%s was open to other users (mode %04o); changed to %04o", path, mode, mode&^0o077))
		return nil
	})
	if err != nil {
		return changed, fmt.Errorf("check the session keys: %w", err)
	}
	stored, err := identity.OpenSessionStore(root).List()
	for _, s := range stored {
		if s.Problem != "" {
			changed = append(changed, s.Problem+"; the session gets a new key when it starts again, or remove the file with `claudemesh sessions rm`")
		}
	}
	return changed, err
}

// claudeCode checks Claude Code and its settings. It is fine not to have Claude Code: the
// rest of claudemesh works without it.
func (d *doctor) claudeCode() {
	i, err := d.installer()
	var missing *program.NotFoundError
	if errors.As(err, &missing) && missing.Path == "" {
		d.findings = append(d.findings, finding{Check: "claude", OK: true, Skipped: true, Detail: missing.Error()})
		return
	}
	if err != nil {
		d.found("claude", false, "%v", err)
		return
	}
	d.found("claude", true, "%s", i.Claude)
	d.plugin(i)
	cwd, err := os.Getwd()
	if err != nil {
		d.found("hooks", false, "find the working directory: %v", err)
		return
	}
	installed, err := i.Installed()
	d.settings(diagnose.PlacesOf(i.ConfigDir, cwd), plugin.At(i.Dir).Marketplace, err == nil && installed)
}

// settings finds the settings of Claude Code that keep the plugin from working.
func (d *doctor) settings(places diagnose.Places, marketplace string, installed bool) {
	if locked := places.MarketplacesLocked(marketplace); locked != "" && !installed {
		d.found("plugin", false, "it can't be installed: %s; use `claudemesh launch`, which doesn't need that", locked)
	}
	var problems []string
	for _, l := range places.Lacks(diagnose.Start{PluginDir: !installed}) {
		problems = append(problems, l.String())
	}
	problems = append(problems, places.Rivals()...)
	for _, p := range problems {
		d.found("hooks", false, "%s", p)
	}
	if len(problems) == 0 {
		d.found("hooks", true, "no setting of Claude Code keeps them from running")
	}
}

// sessions checks that the live sessions can read their messages.
func (d *doctor) sessions(ctx context.Context) (string, error) {
	status, err := d.daemonStatus(ctx)
	if errors.Is(err, local.ErrNotRunning) {
		return "no session is live", nil
	}
	if err != nil {
		return "", err
	}
	var unable []string
	for i := range status.Sessions {
		if s := &status.Sessions[i]; s.CannotRead != "" {
			unable = append(unable, unableText(s))
		}
	}
	if len(unable) > 0 {
		return "", errors.New(strings.Join(unable, "; "))
	}
	return "all live sessions can read their messages", nil
}

// unableText says why a session can't read its messages, and what to do about it.
func unableText(s *local.SessionStatus) string {
	text := fmt.Sprintf("session %s in %s can't read its messages: %s; ", shortSession(s.SessionID), s.Cwd, s.CannotRead)
	switch s.CannotRead {
	case local.NoHooks:
		return text + "turn the hooks on, as the check \"hooks\" says; the session then reads messages from its next prompt on"
	case local.NoTool:
		return text + "type /mcp in the session and reconnect the claudemesh server, or end the session and resume it with `claudemesh launch --resume`"
	}
	return text + "end the session and resume it with `claudemesh launch --resume`, without the options that keep the plugin out"
}

// plugin checks that Claude Code loads the plugin of this program, not of another one.
func (d *doctor) plugin(i *install.Installer) {
	installed, err := i.Installed()
	if err != nil {
		d.found("plugin", false, "%v", err)
		return
	}
	current, err := plugin.Current(i.Dir, i.Executable)
	switch {
	case err != nil:
		d.found("plugin", false, "%v", err)
	case installed && !current:
		d.found("plugin", false, "the installed plugin belongs to another claudemesh; run `claudemesh install` again")
	case installed:
		d.found("plugin", true, "installed, and belongs to this claudemesh")
	case i.Partly():
		d.found("plugin", false, "the plugin is in Claude Code's settings, but isn't loaded from %s; run `claudemesh install` again", plugin.At(i.Dir).Marketplace)
	default:
		d.found("plugin", true, "not installed; `claudemesh launch` loads it for one session, `claudemesh install` for every session")
	}
}

// daemon checks the daemon, if one runs.
func (d *doctor) daemon(ctx context.Context) (string, error) {
	status, err := d.settledDaemon(ctx)
	if errors.Is(err, local.ErrNotRunning) {
		return "not running; it starts when it is needed", nil
	}
	if err != nil {
		var held *daemon.HeldError
		var unwritable *disk.UnwritableError
		switch {
		case errors.As(err, &held):
			return "", held // its text says what to do
		case errors.As(disk.Unwritable(d.dir, err), &unwritable):
			return "", unwritable
		}
		return "", errors.New("the daemon does not answer: " + err.Error() + "; restart it with `claudemesh daemon down` and `claudemesh daemon up`, or kill its process")
	}
	if local.OwnBuild(buildVersion()).Newer(status.Build) {
		return "", fmt.Errorf("the daemon (pid %d) belongs to an older claudemesh (version %s); replace it with `claudemesh daemon up`", status.PID, status.Build.Version)
	}
	if m := d.connection(&status); m != nil && !m.Connected {
		return "", fmt.Errorf("the daemon (pid %d) is not connected to %s: %s", status.PID, m.Broker, connectionText(false, false, m.Error))
	}
	for _, s := range status.Sessions {
		if len(s.PIDs) > 1 {
			return "", fmt.Errorf("session %s runs in several processes (pids %v); end all but one, or resume the others with --fork-session", s.SessionID, s.PIDs)
		}
	}
	sessions := "1 session"
	if n := len(status.Sessions); n != 1 {
		sessions = fmt.Sprint(n, " sessions")
	}
	return fmt.Sprintf("running (pid %d), with %s", status.PID, sessions), nil
}

// settledDaemon waits until the daemon is connected to the mesh, for settleTime at most, and
// returns its status.
func (d *doctor) settledDaemon(ctx context.Context) (local.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	timeout := time.NewTimer(settleTime)
	defer timeout.Stop()
	tick := time.NewTicker(deliveryPoll)
	defer tick.Stop()
	for {
		status, err := d.daemonStatus(ctx)
		if m := d.connection(&status); err != nil || m != nil && m.Connected {
			return status, err
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return status, nil
		case <-ctx.Done():
			return status, ctx.Err()
		}
	}
}

// connection returns the daemon's connection to the mesh, or nil.
func (d *doctor) connection(status *local.Status) *local.MeshStatus {
	i := slices.IndexFunc(status.Meshes, func(m local.MeshStatus) bool { return m.MeshID == d.mesh.MeshID })
	if i < 0 {
		return nil
	}
	return &status.Meshes[i]
}
