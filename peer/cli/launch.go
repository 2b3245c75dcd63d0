package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/launch"
	"github.com/claudemesh/claudemesh/peer/claudecode/program"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// launchFlags are the flags of launch.
type launchFlags struct {
	meshes             []string
	name, role, groups string
	join               string
	quiet, yes         bool

	resume, sessionID string
	resumeLast        bool
}

func (a *app) launchCommand() *cobra.Command {
	var f launchFlags
	cmd := &cobra.Command{
		Use:   "launch [flags] [-- arguments of claude]",
		Short: "Start Claude Code as a peer of your meshes",
		Long: `Start Claude Code as a session that the peers of your meshes can talk to. The session
keeps its key: after --resume or --continue it is the same peer, and gets the messages that
arrived in the meantime. You don't have to install anything, and launch changes none of
your settings.

Everything after -- goes to claude. The exit code is claude's.`,
		Annotations: exits("1, 2  as for other verbs, if claude did not start", "else  the exit code of claude"),
		Example: `  claudemesh launch
  claudemesh launch --mesh team --name bob --role reviewer --groups backend:lead,docs
  claudemesh launch --continue
  claudemesh launch -- --model opus "fix the build"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
				return usagef("put arguments for claude after --: claudemesh launch -- %s", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			own := f.forClaude()
			if len(own) > 2 || f.resumeLast && len(own) > 1 {
				return usagef("use only one of --resume, --continue and --session-id")
			}
			return a.launch(cmd.Context(), &f, append(own, args...))
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.meshes, "mesh", nil, "slug or id of a mesh for the session; repeat the flag or use commas for several (default the meshes that the session was in, or the only mesh that you have joined)")
	flags.StringVar(&f.name, "name", "", "name of the session in the mesh (default its previous name, or your name in the mesh)")
	flags.StringVar(&f.role, "role", "", "what the session is for, in a word or two")
	flags.StringVar(&f.groups, "groups", "", "groups of the session, with an optional role in each: a:lead,b")
	flags.StringVar(&f.join, "join", "", "invite link of a mesh to join first")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print only warnings before claude starts")
	flags.BoolVarP(&f.yes, "yes", "y", false, "don't ask questions before claude starts (claude itself still asks for permissions)")
	flags.StringVarP(&f.resume, "resume", "r", "", "resume the session with this id or title")
	flags.BoolVarP(&f.resumeLast, "continue", "c", false, "continue the last session of this directory")
	flags.StringVar(&f.sessionID, "session-id", "", "id for the new session (default a new random id)")
	return cmd
}

// forClaude returns the flags that launch passes on to claude.
func (f *launchFlags) forClaude() (args []string) {
	if f.resume != "" {
		args = append(args, "--resume", f.resume)
	}
	if f.sessionID != "" {
		args = append(args, "--session-id", f.sessionID)
	}
	if f.resumeLast {
		args = append(args, "--continue")
	}
	return args
}

func (a *app) launch(ctx context.Context, f *launchFlags, args []string) error {
	claude, err := program.Find()
	if err != nil {
		return err
	}
	if f.name != "" {
		if _, err := peer.CheckName(f.name); err != nil {
			return usageError{err}
		}
	}
	o := launch.Options{Dir: a.dir, Build: local.OwnBuild(buildVersion()), Claude: claude, Env: os.Environ(), Args: args, Name: f.name, Role: f.role}
	if o.Executable, err = ownExecutable(); err != nil {
		return err
	}
	if o.ConfigDir, err = program.ConfigDir(); err != nil {
		return err
	}
	if o.Cwd, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	if o.Groups, err = launch.ParseGroups(f.groups); err != nil {
		return usageError{err}
	}
	if len(o.Name) > wire.MaxNameLen || len(o.Role) > wire.MaxNameLen {
		return usagef("--name or --role is too long: at most %d bytes are allowed", wire.MaxNameLen)
	}
	if !launch.Parse(args).NoSession {
		if err := a.chooseMeshes(ctx, f, &o); err != nil {
			return err
		}
	}
	a.quiet = a.quiet || f.quiet
	w := a.waiting("starting the daemon and preparing the session")
	p, err := launch.Prepare(ctx, o)
	w.done()
	if err != nil {
		return err
	}
	for _, w := range p.Warnings {
		fmt.Fprintln(a.err, "warning:", printable(w))
	}
	if !f.quiet && len(p.Meshes) > 0 {
		a.banner(&o, &p)
	}
	return p.Exec()
}

// chooseMeshes determines the meshes, name, role and groups of the session. It asks the user
// for missing ones if there is a terminal.
func (a *app) chooseMeshes(ctx context.Context, f *launchFlags, o *launch.Options) error {
	if err := a.repair(); err != nil {
		return err
	}
	ask := a.newForm(ctx, f, o)
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return err
	}
	if f.join == "" && len(config.Meshes) == 0 && ask != nil {
		if f.join, err = ask.text("You have not joined a mesh yet. Invite link", ""); err != nil {
			return err
		}
	}
	if f.join != "" {
		slug, err := a.joinForLaunch(ctx, f)
		if err != nil {
			return err
		}
		if len(f.meshes) > 0 || len(config.Meshes) > 0 {
			f.meshes = append(f.meshes, slug)
		}
		if config, err = peer.LoadConfig(a.dir); err != nil {
			return err
		}
	}
	if len(f.meshes) == 0 && len(config.Meshes) > 1 && a.knownBefore(o) {
		if ask != nil {
			return ask.identity(o)
		}
		return nil // the daemon remembers the meshes of the session
	}
	if len(f.meshes) == 0 && len(config.Meshes) > 1 && ask != nil {
		if f.meshes, err = ask.meshes(config); err != nil {
			return err
		}
	}
	if o.Meshes, err = findMeshes(config, f.meshes); err != nil {
		return err
	}
	if ask != nil {
		return ask.identity(o)
	}
	return nil
}

// knownBefore reports whether the session that claude runs was in a mesh before.
func (a *app) knownBefore(o *launch.Options) bool {
	id, err := launch.Identify(launch.Parse(o.Args), o.ConfigDir, o.Cwd)
	if err != nil || !id.Returns {
		return false
	}
	stored, err := identity.OpenSessionStore(peer.SessionsRoot(a.dir)).List()
	return err == nil && slices.ContainsFunc(stored, func(s identity.StoredSession) bool { return s.SessionID == id.SessionID && s.Problem == "" })
}

// joinForLaunch joins the mesh of --join and returns its id.
func (a *app) joinForLaunch(ctx context.Context, f *launchFlags) (string, error) {
	link, err := peer.ParseLink(f.join)
	if err != nil {
		return "", usageError{err}
	}
	if a.broker != "" {
		link.BrokerURL = a.broker
	}
	if link.Expired(time.Now()) {
		return "", &peer.HTTPError{Code: "invite_expired"}
	}
	name := f.name
	if name == "" {
		name = userName()
	}
	joined, name, err := a.joinAs(ctx, peer.Join, link, name)
	var before *peer.AlreadyJoinedError
	if errors.As(err, &before) {
		return before.Mesh.MeshID, nil
	}
	if err != nil {
		return "", err
	}
	a.printKept(joined.Backup)
	if !f.quiet && !joined.AlreadyMember {
		fmt.Fprintf(a.err, "Joined the mesh %s as %s.\n", oneLine(joined.Mesh.Slug), oneLine(name))
	}
	return joined.Mesh.MeshID, nil
}

// findMeshes returns the meshes as the daemon takes them: by slug, or by id if several
// meshes have the same slug.
func findMeshes(config *peer.Config, wanted []string) ([]string, error) {
	if len(wanted) == 0 {
		wanted = []string{""} // the only one
	}
	var found []string
	for _, name := range wanted {
		m, err := config.Find(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		ref := m.Slug
		if _, err := config.Find(ref); err != nil {
			ref = m.MeshID
		}
		if !slices.Contains(found, ref) {
			found = append(found, ref)
		}
	}
	return found, nil
}

// banner prints a line about the session to standard error: with -p, a program reads
// claude's standard output.
func (a *app) banner(o *launch.Options, p *launch.Prepared) {
	who := ""
	if o.Name != "" {
		who = " as " + oneLine(o.Name)
	}
	session := "claude lets you choose the session"
	if id := p.Identity.SessionID; id != "" {
		session = "session " + shortSession(id)
		if p.Identity.Returns {
			session += ", resumed"
		}
	}
	fmt.Fprintf(a.err, "claudemesh: in %s%s (%s)\n", oneLine(strings.Join(p.Meshes, ", ")), who, session)
}

// ownExecutable returns the absolute path of this program, as PATH finds it or as it was
// called. It doesn't resolve symbolic links: a package manager points the link to the next
// version, and deletes the old file.
func ownExecutable() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the path of claudemesh: %w", err)
	}
	for _, name := range []string{filepath.Base(os.Args[0]), os.Args[0]} {
		called, err := exec.LookPath(name)
		if err == nil {
			called, err = filepath.Abs(called)
		}
		if err == nil && sameFile(called, exe) {
			return called, nil
		}
	}
	return exe, nil
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// newForm returns the form that asks the user, or nil if launch must not ask.
func (a *app) newForm(ctx context.Context, f *launchFlags, o *launch.Options) *form {
	if f.yes || f.quiet || launch.Parse(o.Args).Prints || !isTerminal(a.in) || !a.terminal {
		return nil
	}
	return &form{ctx: ctx, in: a.in, out: a.err}
}
