package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// startPoll is the pause between checks of a daemon that is starting or stopping.
	startPoll = 20 * time.Millisecond
	// answerTimeout is how long a daemon may take to answer.
	answerTimeout = 2 * time.Second
	// strangerPatience is how long a process that is not known to be a daemon may hold the
	// daemon's lock. A starting daemon identifies itself at once.
	strangerPatience = 3 * time.Second
)

// ErrNoDaemon is returned on Windows, where no daemon runs.
var ErrNoDaemon = errors.New("the daemon doesn't run on Windows yet, so Claude Code sessions can't use a mesh there; " +
	"create, join, invite, peers, send, inbox and the other commands work without it")

// StartOptions describe the daemon to start. Dir is required.
type StartOptions struct {
	Dir   peer.Dir
	Build local.Build // of the caller; Start replaces an older daemon
	// Executable and Args are the program to start. By default it is this program with "daemon
	// run --detached".
	Executable string
	Args       []string
}

// Start makes sure that a daemon runs that is at least as new as the caller. It returns when
// the daemon answers or ctx ends. Any number of processes may call Start at once; together they
// start one daemon.
func Start(ctx context.Context, o StartOptions) (local.Info, error) {
	if !system.HasDaemon {
		return local.Info{}, ErrNoDaemon
	}
	if info, ok := o.running(ctx); ok && !o.Build.Newer(info.Build) {
		return info, nil
	}
	if err := o.Dir.Make(); err != nil {
		return local.Info{}, err
	}
	lock, err := peer.Lock(ctx, o.Dir.Path("daemon-start.lock"))
	if err != nil {
		return local.Info{}, fmt.Errorf("start the daemon: %w", err)
	}
	defer lock.Unlock()
	info, ok := o.running(ctx)
	switch {
	case ok && !o.Build.Newer(info.Build):
		return info, nil
	case ok:
		if err := Stop(ctx, o.Dir, false); err != nil && !errors.Is(err, local.ErrNotRunning) {
			return local.Info{}, fmt.Errorf("replace an older daemon: %w", err)
		}
	default: // a daemon may be starting or stopping
		if err := awaitEnd(ctx, o.Dir, ""); err != nil {
			return local.Info{}, fmt.Errorf("start the daemon: %w", err)
		}
	}
	if info, ok := o.running(ctx); ok { // for example as a service
		return info, nil
	}
	return o.spawn(ctx)
}

// running returns the daemon that answers, if any.
func (o *StartOptions) running(ctx context.Context) (local.Info, bool) {
	info, err := local.ReadInfo(o.Dir)
	if err != nil {
		return info, false
	}
	client, err := local.Owner(o.Dir)
	if err != nil {
		return info, false
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return info, client.Call(ctx, local.VerbStatus, nil, nil) == nil
}

// spawn starts the daemon as a process that outlives this one and its terminal, and waits until
// it answers.
func (o *StartOptions) spawn(ctx context.Context) (local.Info, error) {
	exe, args := o.Executable, o.Args
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return local.Info{}, fmt.Errorf("start the daemon: %w", err)
		}
	}
	if args == nil {
		args = []string{"daemon", "run", "--detached"}
	}
	log, err := os.OpenFile(o.Dir.Path(LogName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return local.Info{}, fmt.Errorf("start the daemon: %w", err)
	}
	defer log.Close()
	before, err := log.Stat()
	if err != nil {
		return local.Info{}, fmt.Errorf("start the daemon: %w", err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = "/"
	if cmd.Env, err = cleanEnv(os.Environ(), o.Dir); err != nil {
		return local.Info{}, fmt.Errorf("start the daemon: %w", err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = system.Detached()
	if err := cmd.Start(); err != nil {
		return local.Info{}, fmt.Errorf("start the daemon: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the daemon, or with this process
	return o.awaitAnswer(ctx, ended, before.Size())
}

// awaitAnswer waits for a daemon whose log entries start at offset logged.
func (o *StartOptions) awaitAnswer(ctx context.Context, ended <-chan error, logged int64) (local.Info, error) {
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		if info, ok := o.running(ctx); ok {
			return info, nil
		}
		select {
		case err := <-ended:
			if info, ok := o.running(ctx); ok { // another daemon started first
				return info, nil
			}
			return local.Info{}, o.notStarted(err, logged)
		case <-poll.C:
		case <-ctx.Done():
			return local.Info{}, fmt.Errorf("the daemon does not answer yet: %w; see %s", ctx.Err(), o.Dir.Path(LogName))
		}
	}
}

// notStarted returns why a daemon exited while starting. It looks at the directory, and at the
// log from an offset on. On a full disk there is no log.
func (o *StartOptions) notStarted(status error, logged int64) error {
	if err := disk.Writable(o.Dir); err != nil {
		return fmt.Errorf("the daemon exited while starting: %w", err)
	}
	path := o.Dir.Path(LogName)
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) <= logged {
		return fmt.Errorf("the daemon exited while starting (%w); see %s", status, path)
	}
	lines := strings.Split(strings.TrimSpace(string(b[logged:])), "\n")
	return fmt.Errorf("the daemon exited while starting (%w): %s; see %s", status, strings.TrimPrefix(lines[len(lines)-1], "claudemesh: "), path)
}

// Stop asks the daemon of a directory to stop, and waits until it has. leave makes the daemon's
// sessions leave their meshes. Stop returns local.ErrNotRunning if there is no daemon, and a
// *HeldError if a process holds the lock but does not answer.
func Stop(ctx context.Context, dir peer.Dir, leave bool) error {
	info, err := Reach(ctx, dir)
	if err != nil {
		return err
	}
	client, err := local.Owner(dir)
	if err != nil {
		return err
	}
	if err := client.Call(ctx, local.VerbShutdown, local.Shutdown{Leave: leave}, nil); err != nil {
		return err
	}
	return awaitEnd(ctx, dir, info.Token)
}

// Reach returns how to reach the daemon of a directory. If a live daemon is unreachable, for
// example because its socket was deleted, Reach gives it a moment to listen again. Reach
// returns local.ErrNotRunning if there is no daemon, and a *HeldError if a process holds the
// lock but does not answer.
func Reach(ctx context.Context, dir peer.Dir) (local.Info, error) {
	o := StartOptions{Dir: dir}
	if info, ok := o.running(ctx); ok {
		return info, nil
	}
	if _, err := os.Stat(dir.Path(lockName)); errors.Is(err, fs.ErrNotExist) {
		return local.Info{}, local.ErrNotRunning // don't create the lock file
	}
	if err := awaitEnd(ctx, dir, ""); err != nil {
		return local.Info{}, err
	}
	if info, ok := o.running(ctx); ok {
		return info, nil
	}
	return local.Info{}, local.ErrNotRunning
}

// awaitEnd waits until no daemon holds the lock, or until a daemon with a token other than the
// given one answers. It returns a *HeldError if the holder of the lock does neither.
func awaitEnd(ctx context.Context, dir peer.Dir, token string) error {
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	patience := time.NewTimer(strangerPatience)
	defer patience.Stop()
	for {
		lock, err := peer.TryLock(dir.Path(lockName))
		if err == nil {
			defer lock.Unlock()
			return elsewhere(dir, lock)
		}
		if !errors.Is(err, peer.ErrLocked) {
			return err
		}
		if info, err := local.ReadInfo(dir); err == nil && info.Token != token {
			o := StartOptions{Dir: dir}
			if _, ok := o.running(ctx); ok {
				return nil
			}
		}
		select {
		case <-poll.C:
		case <-patience.C:
			if h := held(dir); h.Since.IsZero() || h.Host != "" {
				return h // not a daemon of this system, so waiting does not help
			}
		case <-ctx.Done():
			if h := held(dir); !errors.Is(ctx.Err(), context.Canceled) {
				return h
			}
			return fmt.Errorf("the daemon has not stopped: %w", ctx.Err())
		}
	}
}

// kept lists the environment variables that a new daemon keeps. The daemon outlives the process
// that starts it and must not inherit that process's session and secrets.
var kept = slices.Concat([]string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "GORACE", "GOCOVERDIR", "GODEBUG",
}, pathVariables, networkVariables)

// Variables that a daemon needs from its user's environment, however it is started.
var (
	pathVariables = []string{
		"CLAUDEMESH_CONFIG_DIR", "CLAUDEMESH_SESSIONS_DIR", "CLAUDE_CONFIG_DIR", "SSL_CERT_FILE", certDirs,
	}
	networkVariables = []string{
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	}
)

// certDirs is a list of paths; the other pathVariables are single paths.
const certDirs = "SSL_CERT_DIR"

// absolute returns the value of one of the pathVariables for a process that runs in another
// directory.
func absolute(name, value string) (string, error) {
	paths := []string{value}
	if name == certDirs {
		paths = filepath.SplitList(value)
	}
	for i, path := range paths {
		if path == "" { // an empty part of a list
			continue
		}
		var err error
		if paths[i], err = filepath.Abs(path); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return strings.Join(paths, string(filepath.ListSeparator)), nil
}

// cleanEnv returns the part of env that a new daemon for dir gets.
func cleanEnv(env []string, dir peer.Dir) ([]string, error) {
	clean := []string{"CLAUDEMESH_CONFIG_DIR=" + string(dir)}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "CLAUDEMESH_CONFIG_DIR":
			continue
		case strings.HasPrefix(name, "LC_"), strings.HasPrefix(name, "XDG_"):
		case !slices.Contains(kept, name):
			continue
		case slices.Contains(pathVariables, name):
			path, err := absolute(name, value)
			if err != nil {
				return nil, err
			}
			entry = name + "=" + path
		}
		clean = append(clean, entry)
	}
	return clean, nil
}
