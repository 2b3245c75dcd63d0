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

// envChannel turns on channel notifications, for a Claude Code that was told to
// take them.
const envChannel = "CLAUDEMESH_CHANNEL"

func (a *app) mcpCommand() *cobra.Command {
	return forClaudeCode(&cobra.Command{
		Use:   "mcp",
		Short: "The MCP server of a Claude Code session, on standard input and output",
		Example: `  claude mcp add claudemesh -- claudemesh mcp
  CLAUDEMESH_CHANNEL=1 claudemesh mcp`,
		Long: `mcp is the MCP server through which a Claude Code session sends and reads
messages. Claude Code starts it. It speaks for the session that its parent
process runs, and ends with it.

With CLAUDEMESH_CHANNEL=1 it offers channel notifications too.`,
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

// unclosed is a writer that others may close without an effect.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }
