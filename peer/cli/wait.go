package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/debuglog"
	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/claudecode/wake"
	"github.com/claudemesh/claudemesh/visible"
)

// exitStatus ends the command with that exit code and prints nothing: the code is part of
// the command's result.
type exitStatus int

func (e exitStatus) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// exitWake is the exit code with which an asyncRewake hook wakes Claude Code. The model then
// reads what the hook wrote to standard error.
const exitWake exitStatus = 2

// eventTimeout is how long the hook waits for its event on standard input.
const eventTimeout = 2 * time.Second

func (a *app) waitCommand() *cobra.Command {
	return a.forClaudeCode(&cobra.Command{
		Use:    "wait",
		Short:  "Wait for a message and wake Claude Code (an asyncRewake hook)",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := peer.DefaultDir()
			if wantsHelp(args) || err != nil || headless() || a.ofSubagent(cmd.Context()) {
				return nil
			}
			logf, done := debuglog.Open(dir, "wait", io.Discard) // the model reads standard error
			defer done()
			pointer := wake.Wait(cmd.Context(), wake.Options{
				Dir: dir, PID: lineage.FromEnv(), Revive: starter(dir), Logf: logf,
			})
			if pointer == "" {
				return nil
			}
			fmt.Fprintln(a.err, visible.Line(pointer, visible.Model))
			return exitWake
		},
	})
}

// headless reports whether claude runs without a user (-p, SDKs). Such a claude waits for
// this hook before its first turn, and is never idle, so it can't be woken.
func headless() bool { return strings.HasPrefix(os.Getenv("CLAUDE_CODE_ENTRYPOINT"), "sdk-") }

// ofSubagent reads the event that started the hook, and reports whether a subagent caused it
// rather than the session itself.
func (a *app) ofSubagent(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	b, err := interruptible(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.in, hook.MaxInput)) })
	if err != nil {
		return false // unreadable input counts as the session's
	}
	e, err := hook.Parse(b)
	return err == nil && e.AgentID != ""
}
