// Package cli is the claudemesh command: its verbs, and how they talk to people
// and to scripts. Results go to standard output, all else to standard error.
// The exit code is 0 when it was done, 1 when it was refused or failed, 2 when the
// command line was wrong, and 130 when it was interrupted. send has one more.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/disk"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitLate   = 3 // send --wait: not yet
	exitBroken = 130
)

// DefaultBroker is the broker of a mesh that is created without --broker and
// CLAUDEMESH_BROKER_URL.
const DefaultBroker = "ws://127.0.0.1:7900/ws"

// app is one run of the command.
type app struct {
	in       io.Reader
	out, err io.Writer
	terminal bool // out is a terminal
	color    bool // and colours are wanted
	columns  int  // how wide the terminal is; 0: unknown, or out is none
	quiet    bool // --quiet or --json: nothing is said of what is waited for

	dir    peer.Dir
	mesh   string // --mesh
	broker string // --broker

	daemonless bool // no daemon runs on this system
	started    bool // the command line was right
}

// usageError is a command line that was understood but makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errReported ends a command with exitFailed when it has said why already.
var errReported = errors.New("reported")

// Main runs the command and returns its exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: in, out: out, err: errOut, daemonless: !system.HasDaemon}
	if f, ok := out.(*os.File); ok {
		if a.terminal = term.IsTerminal(int(f.Fd())); a.terminal {
			a.columns = columnsOf(f)
		}
	}
	a.color = a.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	if _, isFile := a.err.(*os.File); !isFile {
		a.err = &oneAtATime{w: a.err}
	}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	var status exitStatus
	var notSent unsentError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errReported):
		return exitFailed
	case !a.started || errors.As(err, &usage):
		fmt.Fprintf(a.err, "claudemesh: %s\nRun '%s --help' for how to use it.\n", printable(copyable(err.Error())), strings.Replace(cmd.CommandPath(), ownName, calledAs(), 1))
		return exitUsage
	}
	text := explain(disk.Unwritable(a.dir, err))
	if errors.As(err, &notSent) && !strings.Contains(text, "nothing was sent") {
		text += "; nothing was sent"
	}
	var several *peer.AmbiguousError
	if errors.As(err, &several) {
		text = several.Choices(func(pick string) string { return commandWith(args, several.Name, pick) })
	}
	fmt.Fprintln(a.err, "claudemesh:", printable(copyable(text)))
	if ctx.Err() != nil {
		return exitBroken
	}
	return exitFailed
}

// commandWith is the command line with another text in the place of a name.
func commandWith(args []string, name, instead string) string {
	words := []string{calledAs()}
	for _, arg := range args {
		if arg == name {
			arg, name = instead, ""
		}
		words = append(words, shellWord(arg))
	}
	return strings.Join(words, " ")
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "claudemesh",
		Short: "Exchange end-to-end encrypted messages with the peers of a mesh",
		Long: `claudemesh joins meshes and exchanges end-to-end encrypted messages with their
peers. The broker between them sees who writes to whom, never what.

The first exchange:

  claudemesh create team              # you own a mesh now
  claudemesh invite                   # prints a link for one guest
  claudemesh join '<link>' --name bob # on the guest's machine
  claudemesh inbox --follow           # on the guest's machine
  claudemesh send bob "hello"

Keys and joined meshes are in ~/.claudemesh, or in CLAUDEMESH_CONFIG_DIR.
Tables are cut to the width of the terminal, or to COLUMNS; output to a file is whole.
Colours are for terminals, unless NO_COLOR is set.`,
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			a.started = true
			if a.daemonless && needsDaemon(cmd) {
				return daemon.ErrNoDaemon
			}
			a.dir, err = peer.DefaultDir()
			if f := cmd.Flags().Lookup("json"); f != nil && f.Value.String() == "true" {
				a.quiet = true
			}
			return err
		},
	}
	root.PersistentFlags().StringVar(&a.mesh, "mesh", "", "slug or id of the mesh, when you have joined several")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "do not say what is waited for")
	root.PersistentFlags().StringVar(&a.broker, "broker", "", "URL of the broker instead of the remembered one; for create, default CLAUDEMESH_BROKER_URL or "+DefaultBroker)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	a.addVerbs(root) // some keep the output that is set by now
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: `  claudemesh version
  claudemesh version && claudemesh doctor    # for a report of a fault`,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, buildVersion())
			return err
		},
	}
}

// version is set by the linker, see the Makefile.
var version string

// buildVersion is version, else the version of the module that was built.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
