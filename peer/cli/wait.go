package cli

import (
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

// exitStatus ends the command with that exit code, and says nothing: it is part of
// what the command has to tell.
type exitStatus int

func (e exitStatus) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// exitWake is the exit code by which an asyncRewake hook wakes Claude Code, with
// what it wrote to standard error.
const exitWake exitStatus = 2

// eventTimeout is how long the waiter waits for its event.
const eventTimeout = 2 * time.Second

func (a *app) waitCommand() *cobra.Command {
	return forClaudeCode(&cobra.Command{
		Use:    "wait",
		Short:  "Wait for a message and wake Claude Code (an asyncRewake hook)",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := peer.DefaultDir()
			if wantsHelp(args) || err != nil || headless() || a.ofSubagent() {
				return nil
			}
			logf, done := debuglog.Open(dir, "wait", io.Discard) // standard error is for the model
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

// headless reports whether nobody sits before this claude (-p, SDKs). It would wait
// for this hook before its first turn, and never be idle to be woken.
func headless() bool { return strings.HasPrefix(os.Getenv("CLAUDE_CODE_ENTRYPOINT"), "sdk-") }

// ofSubagent reads the event that started the hook and reports whether it is none
// of the session's own.
func (a *app) ofSubagent() bool {
	read := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(a.in, hook.MaxInput)) // what can't be read is no subagent's
		read <- b
	}()
	select {
	case b := <-read:
		e, err := hook.Parse(b)
		return err == nil && e.AgentID != ""
	case <-time.After(eventTimeout):
		return false
	}
}
