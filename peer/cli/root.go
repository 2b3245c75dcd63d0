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
	exitLate   = 3 // send --wait timed out
	exitBroken = 130
)

// defaultBroker is the broker that create uses if neither --broker nor
// CLAUDEMESH_BROKER_URL names one.
const defaultBroker = "ws://127.0.0.1:7900/ws"

// app holds the state of one run of the command.
type app struct {
	in       io.Reader
	out, err io.Writer
	terminal bool // out is a terminal
	color    bool // out is a terminal that shows colors
	columns  int  // width of the terminal; 0 if unknown, or if out isn't a terminal
	quiet    bool // --quiet or --json: don't report what the command waits for

	dir    peer.Dir
	mesh   string // --mesh
	broker string // --broker

	daemonless bool // this system can't run a daemon
	started    bool // cobra has accepted the command line
}

// usageError reports a command line that cobra accepted but that makes no sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errReported ends a command with exitFailed. The command has already printed why.
var errReported = errors.New("reported")

// Main runs the command and returns its exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: in, out: out, err: errOut, daemonless: !system.HasDaemon}
	if a.terminal = isTerminal(out); a.terminal {
		a.columns = columnsOf(out.(*os.File))
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
	case errors.Is(err, errReported) && ctx.Err() != nil:
		return exitBroken
	case errors.Is(err, errReported):
		return exitFailed
	case !a.started || errors.As(err, &usage):
		fmt.Fprintf(a.err, "claudemesh: %s\nRun '%s --help' for usage.\n", printable(copyable(err.Error())), strings.Replace(cmd.CommandPath(), ownName, calledAs(), 1))
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

// commandWith returns the command line with name replaced.
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
peers. The broker sees who writes to whom, but never what they write.

A first exchange:

  claudemesh create team              # you now own a mesh
  claudemesh invite                   # prints a link for one guest
  claudemesh join '<link>' --name bob # on the guest's machine
  claudemesh inbox --follow           # on the guest's machine
  claudemesh send bob "hello"

claudemesh keeps your keys and your meshes in ~/.claudemesh, or in CLAUDEMESH_CONFIG_DIR.
On a terminal, tables are cut to its width, or to COLUMNS; output to a file is never cut.
Terminal output is colored unless NO_COLOR is set.`,
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
			if err == nil && a.broker != "" {
				if a.broker, err = peer.ParseBrokerURL(a.broker); err != nil {
					return usagef("--broker: %w", err)
				}
			}
			return err
		},
	}
	root.PersistentFlags().StringVar(&a.mesh, "mesh", "", "slug or id of the mesh, if you have joined several")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "don't report what the command is waiting for")
	root.PersistentFlags().StringVar(&a.broker, "broker", "", "URL of the broker to use instead of the mesh's own (create: default CLAUDEMESH_BROKER_URL, or "+defaultBroker+")")
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	a.addVerbs(root) // after SetOut: some verbs keep the output
	return root
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: `  claudemesh version
  claudemesh version && claudemesh doctor    # for a bug report`,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, buildVersion())
			return err
		},
	}
}

// version is set by the linker; see the Makefile.
var version string

// buildVersion returns version if it is set, else the version of the main module.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
