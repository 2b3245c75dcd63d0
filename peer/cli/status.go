package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status <message id>", Short: "Show whether a message was delivered", Args: messageIDArg,
		Example: `  claudemesh status 8c9d1e2f
  claudemesh status 8c9d1e2f --json`,
		Long: `Show, for each recipient, whether your message was delivered. The last 8 characters of its id, as
send prints them, or the first 8 are enough. For a message that the daemon sends (send --no-wait,
--wait read), status also shows whether it still waits on this machine for the broker, and whether the
recipient has signed that it was read or refused. If the broker no longer knows a message that it has
accepted from this machine, its state is forgotten: either the broker was restored from a backup, or it has
deleted the message because of its age. It is not known whether the message has arrived: send it again if the
recipient has not answered. This machine remembers the last 50 messages that send itself handed to the broker.
If the broker doesn't know an older one, status can only say that it is not known.
--json: {messageId, targetSpec, delivered, deliveredAt, recipients [{name, pubkey, status, state, at,
cannotRead}]}; for a message that the daemon sends also {clientMessageId, state, reason?, receipts?
[{name, key, state, at, signed}]}. state is waiting, queued, delivered, in_context, expired, refused, failed
or forgotten; for a message that send itself handed to the broker, state is there only if it is forgotten.`,
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
			if err := a.table(fate.rows(time.Now()), "KEY"); err != nil || fate.State != local.Forgotten {
				return err
			}
			_, err = fmt.Fprintln(a.out, "\nforgotten: "+forgottenText) // a terminal would cut it in the table
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// messageIDArg requires one message id. In the command of protocol v1, status does other
// things; the errors name the verbs that do them here.
func messageIDArg(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("<message id> is missing%s\nTo check the broker and the peers, run `claudemesh doctor` and `claudemesh peers`.", usageOf(cmd))
	case args[0] == "set":
		return usagef("status shows whether a message was delivered; it can't set the status of a session. That follows the session's activity; a model sets dnd with its tool set_status")
	}
	return cobra.ExactArgs(1)(cmd, args)
}

// messageCommand offers send and status under their names in the command of protocol v1.
func (a *app) messageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "message", Short: "Send a message or show its status (names from protocol v1)", Hidden: true}
	cmd.AddCommand(a.statusCommand(), a.sendCommand())
	return cmd
}
