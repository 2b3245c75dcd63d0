package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// statusWait is how long send waits for the recipient before it says "queued".
	statusWait = time.Second
	statusPoll = 50 * time.Millisecond
	// slowPoll is the pause of --wait after statusWait.
	slowPoll = time.Second

	waitDelivered, waitRead = "delivered", "read" // of --wait
)

// follow tells how far a message came, after a moment, or with --wait when it came as far
// as that, can't any more, or the time is over. It is not known of every message: what
// send promises is that the broker has it.
func (a *app) follow(ctx context.Context, client *peer.Client, id string, f *sendFlags) (status wire.MessageStatusResult, known bool, err error) {
	status, err = awaitDelivery(ctx, client, id, f)
	switch {
	case err == nil:
		return status, true, nil
	case ctx.Err() != nil:
		short := peer.ShortID(id)
		return status, false, &fateError{fmt.Sprintf("interrupted; the broker has the message %s and delivers it: 'claudemesh status %[1]s' tells how far it came", short), ctx.Err()}
	}
	fmt.Fprintln(a.err, "The message is accepted, but how far it came is not known:", printable(explain(err)))
	return status, false, nil
}

// awaitDelivery asks how far the message came until nothing more is to be expected, or for
// statusWait; with --wait until it came as far, can't any more, or for --timeout.
func awaitDelivery(ctx context.Context, client *peer.Client, id string, f *sendFlags) (wire.MessageStatusResult, error) {
	begin, limit := time.Now(), statusWait
	if f.wait != "" {
		limit = time.Duration(f.timeout)
	}
	for {
		status, err := client.MessageStatus(ctx, id)
		left := limit - time.Since(begin)
		switch {
		case ctx.Err() != nil:
			return status, ctx.Err()
		case left <= 0, err == nil && settled(&status):
			return status, err
		case f.wait == "" && (err != nil || anyAway(&status) && noneHeld(&status)):
			return status, err
		}
		pause := statusPoll
		if time.Since(begin) > statusWait {
			pause = slowPoll
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(min(pause, left)):
		}
	}
}

// settled reports whether nothing about the message will change any more.
func settled(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.Status != wire.RecipientDelivered && (r.State == "" || r.State == statePending) {
			return false
		}
	}
	return true
}

// statePending is the state of a recipient who may still get the message.
const statePending = "pending"

// outcome is the exit code of send, as an error: what came of the message.
func (a *app) outcome(f *sendFlags, known bool, s *wire.MessageStatusResult) error {
	switch {
	case known && len(s.Recipients) == 0: // of a broker that does not refuse it
		return errReported
	case f.wait == "" || known && s.Delivered:
		return nil
	case known && settled(s):
		return errReported
	}
	fmt.Fprintf(a.err, "claudemesh: not delivered to everybody within %s; the broker goes on delivering\n", f.timeout.String())
	return exitStatus(exitLate)
}

func anyAway(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if s.Recipients[i].Status == wire.RecipientDisconnected {
			return true
		}
	}
	return len(s.Recipients) == 0
}

// noneHeld reports whether no recipient will get the message right now.
func noneHeld(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if s.Recipients[i].Status == wire.RecipientHeld {
			return false
		}
	}
	return true
}

// promise says what will become of the message.
func promise(name string, known bool, s *wire.MessageStatusResult) string {
	name = oneLine(name)
	if !known {
		return "accepted for " + name
	}
	var delivered, held, absent, lost []string
	for i := range s.Recipients {
		r := &s.Recipients[i]
		switch r.Status {
		case wire.RecipientDelivered:
			delivered = append(delivered, oneLine(r.Name))
		case wire.RecipientHeld:
			held = append(held, oneLine(r.Name))
		default:
			switch r.State {
			case wire.StateUnopened: // the receipt says why
			case "", statePending:
				absent = append(absent, oneLine(r.Name))
			default:
				lost = append(lost, oneLine(r.Name))
			}
		}
	}
	if len(s.Recipients) == 0 {
		return "nobody was there to get it, and nobody will"
	}
	var parts []string
	if len(delivered) > 0 {
		parts = append(parts, "delivered to "+names(delivered))
	}
	if len(held) > 0 {
		parts = append(parts, "queued for "+names(held)+" (busy): it will be delivered when they are free")
	}
	if len(absent) > 0 {
		parts = append(parts, "queued for "+names(absent)+" (away): it will be delivered when they return")
	}
	if len(lost) > 0 {
		parts = append(parts, "not for "+names(lost)+", who can't get it any more")
	}
	if len(parts) == 0 {
		parts = append(parts, "accepted")
	}
	for i := range s.Recipients {
		if r := &s.Recipients[i]; r.CannotRead != "" {
			parts = append(parts, "but "+oneLine(daemon.CannotRead(r.Name, r.CannotRead)))
		}
	}
	return strings.Join(parts, "; ")
}

// names lists up to five names.
func names(list []string) string {
	if len(list) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:4], ", "), len(list)-4)
	}
	return strings.Join(list, ", ")
}

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
		return usagef("<message id> is missing%s\nWhether the broker and the peers can be reached tell 'claudemesh doctor' and 'claudemesh peers'.", usageOf(cmd))
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
