package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
)

// replyCommand is send with another way to say to whom.
func (a *app) replyCommand() *cobra.Command {
	cmd := a.sendCommand()
	send := cmd.RunE
	var toAll bool
	cmd.Use = "reply <message id> <message...>"
	cmd.Short = "Answer a message of the inbox"
	cmd.Example = `  claudemesh reply 1a2b3c4d yes, go ahead
  claudemesh reply 1a2b3c4d --all "I take it"
  make test 2>&1 | claudemesh reply 1a2b3c4d -`
	cmd.Long = `Answer a message of the inbox, named by its id or by 8 characters of its end, as 'claudemesh
inbox' prints them.
The answer goes to the key that sent the message, whatever the name leads to now; with
--all to the group that the message was for. All else is as in 'claudemesh send', --json too.`
	cmd.Args = cobra.MinimumNArgs(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		store, m, err := a.mail(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := store.Close(); err != nil {
			return err
		}
		to, err := answerTo(&m, toAll)
		if err != nil {
			return err
		}
		if err := cmd.Flags().Set("reply-to", m.MessageID); err != nil {
			return err
		}
		return send(cmd, []string{to, strings.Join(args[1:], " ")})
	}
	if err := cmd.Flags().MarkHidden("reply-to"); err != nil {
		panic(err) // send has no such flag
	}
	cmd.Flags().BoolVar(&toAll, "all", false, "to the group that the message was for, instead of its sender alone")
	return cmd
}

// answerTo returns whom an answer to a message is for.
func answerTo(m *inbox.Stored, toAll bool) (string, error) {
	switch {
	case !toAll && m.SenderKey().IsZero():
		return "", fmt.Errorf("the sender of the message %s is not known; name one yourself, with `claudemesh send`", peer.ShortID(m.MessageID))
	case !toAll:
		return m.Sender, nil
	case len(m.To) == 0:
		return "", usagef("--all: the message %s was for you alone, as far as is known; leave it out", peer.ShortID(m.MessageID))
	case len(m.To) > 1:
		return "", usagef("--all: the message was for %s; send the answer to each: claudemesh send %s --reply-to %s", strings.Join(m.To, " and "), shellWord(m.To[0]), m.MessageID)
	}
	return m.To[0], nil
}
