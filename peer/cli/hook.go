package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// envHookDebug makes hooks, monitors and the MCP server say what they do.
	envHookDebug = "CLAUDEMESH_HOOK_DEBUG"
	hookLogName  = "hook.log"
	hookLogLimit = 1 << 20 // bytes, beyond which the file begins anew
	deliverFlag  = "--deliver"
)

// forClaudeCode makes a command one that Claude Code runs: nothing on its command
// line is an error, since Claude Code takes exit code 2 for a veto.
func forClaudeCode(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagParsing = true
	cmd.Args = cobra.ArbitraryArgs
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return nil }
	return cmd
}

func (a *app) hookCommand() *cobra.Command {
	return forClaudeCode(&cobra.Command{
		Use:   "hook",
		Short: "What Claude Code runs on its events (reads one as JSON on standard input)",
		Long: `hook tells the daemon what happens in a Claude Code session. Claude Code runs it;
it reads the event on standard input, takes at most 40 ms then, and always ends with
exit code 0. With CLAUDEMESH_HOOK_DEBUG=1 it explains itself on standard error
and in hook.log in the config directory.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wantsHelp(args) {
				return cmd.Help()
			}
			a.hook(cmd.Context(), args)
			return nil
		},
	})
}

func (a *app) hook(ctx context.Context, args []string) {
	dir, err := peer.DefaultDir()
	logf, done := debugLog(dir, "hook", a.err)
	defer done()
	if err != nil {
		logf("%v", err)
		return
	}
	h := &hook.Hook{
		Dir: dir, PID: lineage.FromEnv(), Env: os.Getenv,
		Build: local.OwnBuild(buildVersion()), Logf: logf,
	}
	if slices.Contains(args, deliverFlag) {
		if err := h.Deliver(ctx, a.in, starter(dir)); err != nil {
			logf("deliver: %v", err)
		}
		return
	}
	if exe, err := os.Executable(); err == nil {
		h.Detach = hook.Spawn(h.PID, exe, "hook", deliverFlag)
	}
	h.Run(ctx, a.in, a.out)
}

func wantsHelp(args []string) bool {
	return slices.Contains(args, "--help") || slices.Contains(args, "-h")
}

// starter returns a function that makes sure that a daemon runs which is not older
// than this program was when starter was called.
func starter(dir peer.Dir) func(context.Context) error {
	build := local.OwnBuild(buildVersion())
	return func(ctx context.Context) error {
		_, err := daemon.Start(ctx, daemon.StartOptions{Dir: dir, Build: build})
		return err
	}
}

// debugLog returns what to log with, to out and to hook.log, and to call at the end.
// Nothing is logged unless CLAUDEMESH_HOOK_DEBUG asks for it.
func debugLog(dir peer.Dir, who string, out io.Writer) (logf func(string, ...any), done func()) {
	if v := os.Getenv(envHookDebug); v == "" || v == "0" {
		return func(string, ...any) {}, func() {}
	}
	var file io.Writer = io.Discard
	done = func() {}
	if f, err := openHookLog(dir); err == nil {
		file, done = f, func() { _ = f.Close() }
	} else {
		fmt.Fprintln(out, "claudemesh:", err)
	}
	return func(format string, args ...any) {
		line := printable(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " | "))
		fmt.Fprintf(out, "claudemesh %s: %s\n", who, line)
		fmt.Fprintf(file, "%s %s[%d]: %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), who, os.Getpid(), line)
	}, done
}

func openHookLog(dir peer.Dir) (*os.File, error) {
	if dir == "" {
		return nil, os.ErrNotExist
	}
	if err := dir.Make(); err != nil {
		return nil, err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(dir.Path(hookLogName)); err == nil && info.Size() > hookLogLimit {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(dir.Path(hookLogName), flags, 0o600)
}
