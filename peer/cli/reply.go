package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
)

// replyCommand is send, with the recipient taken from a message of the inbox.
func (a *app) replyCommand() *cobra.Command {
	cmd := a.sendCommand()
	send := cmd.RunE
	var toAll bool
	cmd.Use = "reply <message id> <message...>"
	cmd.Short = "Answer a message in the inbox"
	cmd.Example = `  claudemesh reply 1a2b3c4d yes, go ahead
  claudemesh reply 1a2b3c4d --all "I'll take it"
  make test 2>&1 | claudemesh reply 1a2b3c4d -`
	cmd.Long = `Answer a message in the inbox. Give its id, or the last 8 characters, as 'claudemesh inbox'
prints them.
The answer goes to the key that sent the message, even if the sender's name now leads to
another key. With --all it goes to the group that the message was sent to. Everything else,
including --json, works as in 'claudemesh send'.`
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
		panic(err) // send doesn't have the flag
	}
	cmd.Flags().BoolVar(&toAll, "all", false, "answer the group that the message was sent to, not only its sender")
	return cmd
}

// answerTo returns the recipient of an answer to a message.
func answerTo(m *inbox.Stored, toAll bool) (string, error) {
	switch {
	case !toAll && m.SenderKey().IsZero():
		return "", fmt.Errorf("reply to %s: the sender is unknown; name the recipient yourself, with `claudemesh send`", peer.ShortID(m.MessageID))
	case !toAll:
		return m.Sender, nil
	case len(m.To) == 0:
		return "", usagef("reply --all to %s: the message wasn't sent to a group; leave out --all", peer.ShortID(m.MessageID))
	case len(m.To) > 1:
		return "", usagef("reply --all: the message was sent to %s; answer each of them: claudemesh send %s --reply-to %s", strings.Join(m.To, " and "), shellWord(m.To[0]), m.MessageID)
	}
	return m.To[0], nil
}
