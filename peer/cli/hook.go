package cli

import (
	"context"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/peer/local"
)

// forClaudeCode prepares a command that Claude Code runs: it accepts every command line, and an
// error never means exit code 2, which tells Claude Code to block the event.
func (a *app) forClaudeCode(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagParsing = true
	cmd.Args = cobra.ArbitraryArgs
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		a.started = true
		return nil
	}
	return cmd
}

func (a *app) hookCommand() *cobra.Command {
	return a.forClaudeCode(&cobra.Command{
		Use:         "hook",
		Short:       "Handle an event of Claude Code (JSON on standard input)",
		Annotations: exits("0  always, so that a session is never blocked"),
		Example: `  CLAUDEMESH_HOOK_DEBUG=1 claudemesh hook < event.json
  echo '{"hook_event_name":"Stop","session_id":"0f8fad5b-d9cb-469f-a165-70867728950e"}' | claudemesh hook`,
		Long: `Tell the daemon what happens in a Claude Code session. Claude Code runs this command. It
reads an event on standard input, answers within 40 ms, and always exits with 0. With
CLAUDEMESH_HOOK_DEBUG=1 it logs to standard error and to hook.log in the config directory.`,
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
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	if !slices.Contains(args, hook.DeliverFlag) {
		hook.Answer(ctx, exe, buildVersion(), a.in, a.out, a.err)
		return
	}
	h, done := hook.New(exe, buildVersion(), a.err)
	defer done()
	if h == nil {
		return
	}
	if err := h.Deliver(ctx, a.in, starter(h.Dir)); err != nil {
		h.Logf("deliver: %v", err)
	}
}

func wantsHelp(args []string) bool {
	return slices.Contains(args, "--help") || slices.Contains(args, "-h")
}

// starter returns a function that starts the daemon if none runs, or if the running one is
// older than this program was when starter was called.
func starter(dir peer.Dir) func(context.Context) error {
	build := local.OwnBuild(buildVersion())
	return func(ctx context.Context) error {
		_, err := daemon.Start(ctx, daemon.StartOptions{Dir: dir, Build: build})
		return err
	}
}
