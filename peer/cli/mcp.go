package cli

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/debuglog"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/claudecode/mcpserver"
)

// envChannel turns on channel notifications, for a Claude Code that was started to accept
// them.
const envChannel = "CLAUDEMESH_CHANNEL"

func (a *app) mcpCommand() *cobra.Command {
	return a.forClaudeCode(&cobra.Command{
		Use:   "mcp",
		Short: "Run the MCP server of a Claude Code session, on standard input and output",
		Example: `  claude mcp add claudemesh -- claudemesh mcp
  CLAUDEMESH_CHANNEL=1 claudemesh mcp`,
		Long: `Run the MCP server through which a Claude Code session sends and reads messages.
Claude Code starts it. It acts for the session of its parent process, and ends with it.

With CLAUDEMESH_CHANNEL=1 it also offers channel notifications.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wantsHelp(args) {
				return cmd.Help()
			}
			dir, err := peer.DefaultDir()
			if err != nil {
				return err
			}
			logf, done := debuglog.Open(dir, "mcp", a.err)
			defer done()
			return mcpserver.Serve(cmd.Context(), mcpserver.Config{
				Dir: dir, PID: os.Getppid(), Session: os.Getenv(lineage.EnvSession), Version: buildVersion(),
				Channel: os.Getenv(envChannel) == "1", Start: starter(dir), Logf: logf,
				In: io.NopCloser(a.in), Out: unclosed{a.out},
			})
		},
	})
}

// unclosed is a writer whose Close does nothing.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
