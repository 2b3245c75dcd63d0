package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/diagnose"
	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
	"github.com/claudemesh/claudemesh/peer/claudecode/install"
	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// startTimeout limits how long the daemon may take to start and to answer.
const startTimeout = 15 * time.Second

// Options describe what to launch.
type Options struct {
	Dir        peer.Dir // of claudemesh
	Build      local.Build
	Executable string // absolute path of claudemesh
	Claude     string // absolute path of claude
	ConfigDir  string // Claude Code's
	Cwd        string
	Env        []string // KEY=VALUE; claude's environment, apart from what Prepare changes

	Meshes []string // slugs or ids; at least one
	Name   string   // display name of the session; "" means the member's
	Role   string
	Groups []wire.Group

	Args []string // claude's
}

// Prepared is a claude that is ready to start.
type Prepared struct {
	Path      string
	Argv, Env []string
	Identity  Identity
	Meshes    []string // slugs
	Warnings  []string

	cannotRead string // why the session can't read messages; "" if it can
}

// Prepare writes the plugin, starts the daemon if necessary, and registers this process with
// it if the session is known. If the daemon doesn't work, Prepare only adds a warning, because
// the hooks try again. If the daemon refuses the registration, Prepare returns an error.
func Prepare(ctx context.Context, o Options) (Prepared, error) {
	args := Parse(o.Args)
	p := Prepared{Path: o.Claude, Env: o.environ(), Meshes: o.Meshes}
	if args.NoSession {
		p.Argv = append([]string{"claude"}, o.Args...)
		return p, nil
	}
	var err error
	if p.Identity, err = Identify(args, o.ConfigDir, o.Cwd); err != nil {
		p.warn("the session is unknown until claude has started: %v", err)
	}
	p.Argv = []string{"claude"}
	lacks := o.lacks(args)
	written, err := plugin.Write(o.Dir, o.Executable)
	switch {
	case err != nil:
		p.warn("claude starts without the mesh: %v", err)
	case !slices.ContainsFunc(lacks, func(l diagnose.Lack) bool { return l.Plugin }):
		p.Argv = append(p.Argv, "--plugin-dir", written.Root)
	}
	p.Argv = append(append(p.Argv, p.Identity.Args...), o.Args...)
	p.cannotRead = diagnose.Peers(lacks, args.Prints)
	p.report(lacks)
	return p, p.register(ctx, &o)
}

// lacks returns the parts of claudemesh that claude won't load, as far as that is known before
// it starts.
func (o *Options) lacks(args Args) []diagnose.Lack {
	start := diagnose.Start{SafeMode: args.SafeMode, Bare: args.Bare, StrictMCP: args.StrictMCP, Settings: args.Settings}
	installer := install.Installer{Dir: o.Dir, ConfigDir: o.ConfigDir, Executable: o.Executable}
	installed, err := installer.Installed()
	start.PluginDir = err != nil || !installed
	return diagnose.PlacesOf(o.ConfigDir, o.Cwd).Lacks(start)
}

// report adds a warning about the lacks: what won't work, and what to do.
func (p *Prepared) report(lacks []diagnose.Lack) {
	if len(lacks) == 0 {
		return
	}
	words := make([]string, len(lacks))
	for i, l := range lacks {
		words[i] = l.String()
	}
	effect := "some parts of claudemesh don't work in this session"
	if p.cannotRead != "" {
		effect = "this session can't read its messages, and peers are told so"
	}
	p.warn("%s: %s", effect, strings.Join(words, "; "))
}

func (p *Prepared) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// register registers the session that this process will run with the daemon.
func (p *Prepared) register(ctx context.Context, o *Options) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if _, err := daemon.Start(ctx, daemon.StartOptions{Dir: o.Dir, Build: o.Build, Executable: o.Executable}); err != nil {
		p.warn("the daemon isn't running, so this session can't send or receive messages for now: %v; see `claudemesh doctor`", err)
		return nil
	}
	if p.Identity.SessionID == "" {
		return nil
	}
	client, err := local.Owner(o.Dir)
	if err != nil {
		p.warn("the daemon is unreachable: %v", err)
		return nil
	}
	var answer local.Registered
	own := process.Own()
	err = client.Call(ctx, local.VerbRegister, local.Register{
		PID: own.PID, Domain: own.Domain, ProcStart: own.Start, SessionID: p.Identity.SessionID, Source: local.SourceLaunch, Cwd: o.Cwd, ConfigDir: o.ConfigDir,
		Meshes: o.Meshes, Name: o.Name, Role: o.Role, Groups: o.Groups, CannotRead: p.cannotRead,
	}, &answer)
	var refused *local.Error
	if errors.As(err, &refused) && (refused.Code == local.CodeInvalid || refused.Code == local.CodeNotFound || refused.Code == local.CodeRefused) {
		return fmt.Errorf("register the session: %w", err)
	}
	if err != nil {
		p.warn("the daemon does not know the session yet: %v", err)
		return nil
	}
	p.Meshes, p.Warnings = answer.Meshes, append(p.Warnings, answer.Warnings...)
	return nil
}

// handover lists the variables that pass the options of the session to the hooks.
var handover = []string{hook.EnvMesh, hook.EnvName, hook.EnvRole, hook.EnvGroups, "CLAUDEMESH_CONFIG_DIR", hook.EnvLaunch}

// environ returns claude's environment: that of Options, without the variables of an outer
// session or launch, and with those that the hooks need.
func (o *Options) environ() []string {
	env := slices.DeleteFunc(program.CleanEnv(o.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(handover, name)
	})
	for i, value := range []string{strings.Join(o.Meshes, ","), o.Name, o.Role, formatGroups(o.Groups), string(o.Dir), strconv.Itoa(os.Getpid())} {
		if value != "" {
			env = append(env, handover[i]+"="+value)
		}
	}
	return env
}

// Exec becomes claude. It returns only if that fails.
func (p *Prepared) Exec() error {
	err := system.Exec(p.Path, p.Argv, p.Env)
	return fmt.Errorf("start %s: %w", p.Path, err)
}
