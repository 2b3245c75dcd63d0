package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status <message id>", Short: "Tell how far a message came", Args: messageIDArg,
		Example: `  claudemesh status 8c9d1e2f
  claudemesh status 8c9d1e2f --json`,
		Long: `Tell how far a message of yours came. 8 characters of its id are enough, from its end, as send
prints them, or from its start. Of a message that the daemon has sent for you (send --no-wait,
--wait read) it also tells whether it still waits here for the broker, and what the recipient
has signed: read, or refused.
--json: {messageId, targetSpec, delivered, deliveredAt, recipients [{name, pubkey, status, state, at,
cannotRead}]}; of a message that the daemon has sent also {clientMessageId, state, reason?, receipts?
[{name, key, state, at, signed}]}. state is waiting, queued, delivered, in_context, expired, refused or failed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := peer.CheckMessageID(args[0]); err != nil {
				return usageError{err}
			}
			fate, err := a.fate(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(fate)
			}
			return a.table(fate.rows(time.Now()), "KEY")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// messageIDArg takes one message id. What protocol v1's command means by status has other
// names here.
func messageIDArg(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("<message id> is missing%s\n`claudemesh doctor` and `claudemesh peers` tell whether the broker and the peers can be reached.", usageOf(cmd))
	case args[0] == "set":
		return usagef("status tells how far a message came; a session's own status follows by itself what it does, and its tool set_status sets dnd")
	}
	return cobra.ExactArgs(1)(cmd, args)
}

// messageCommand is what protocol v1's command calls status and send.
func (a *app) messageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "message", Short: "The names that send and status have in protocol v1's command", Hidden: true}
	cmd.AddCommand(a.statusCommand(), a.sendCommand())
	return cmd
}
