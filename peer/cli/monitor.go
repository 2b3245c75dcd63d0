package cli

import (
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/debuglog"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/claudecode/wake"
)

func (a *app) monitorCommand() *cobra.Command {
	return a.forClaudeCode(&cobra.Command{
		Use:    "monitor",
		Short:  "Print a line when there are messages (a monitor of the Claude Code plugin)",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wantsHelp(args) {
				return cmd.Help()
			}
			dir, err := peer.DefaultDir()
			if err != nil {
				return err
			}
			logf, done := debuglog.Open(dir, "monitor", a.err)
			defer done()
			return wake.Monitor(cmd.Context(), wake.Options{
				Dir: dir, PID: lineage.FromEnv(), Revive: starter(dir), Logf: logf,
			}, a.out)
		},
	})
}
