package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	sendTimeout = 60 * time.Second
	// statusWait is how long send waits for the recipient before it says "queued".
	statusWait = time.Second
	statusPoll = 50 * time.Millisecond
)

// sent is what send --json prints.
type sent struct {
	MessageID  string                 `json:"messageId"`
	ClientID   string                 `json:"clientMessageId"`
	Delivered  bool                   `json:"delivered"`
	Verified   *bool                  `json:"verified,omitempty"` // of a message to one recipient
	Doubt      string                 `json:"doubt,omitempty"`
	Recipients []wire.RecipientStatus `json:"recipients"`
	Unreached  string                 `json:"unreached,omitempty"` // of a message to many
}

func (a *app) sendCommand() *cobra.Command {
	var priority, replyTo string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "send <to> <message | ->",
		Short: "Send a message",
		Long: `Send a message, sealed so that only those whom it is for can read it. <to> is
  a display name     of a connected peer, or of a member, for whom it waits
  a key              or a member's id, or the start of a key, 8 digits or more
  @group             everybody in the group
  @all or *          everybody in the mesh
A name that led to another key before is refused: see 'claudemesh trust'. A name is found
exactly as it is written, else in any case; what looks like a key is never a name. A whole
key is always that key. With '-' the message is read from standard input. Prints the message's id, and whether
it is delivered already or waits.
Peers whose client can't open a message to a group, as those of protocol v1, get a copy
that is sealed for their own key; whom neither reaches is said.
--json: {messageId, clientMessageId, delivered, recipients [{name, pubkey, status, state}], unreached?}
and, for one recipient, {verified, doubt}: verified tells that its member vouches for the
key that the message is sealed for; where it is not, doubt says why.`,
		Example: "  claudemesh send bob \"the build is green\"\n  git diff | claudemesh send @review -",
		Args:    oneMessage,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !wire.Priority(priority).Valid() {
				return usagef("--priority must be now, next or low")
			}
			if peer.IsGroupTarget(args[0]) {
				if _, err := wire.ParseTarget(args[0]); err != nil {
					return usagef("%q is no target: %w", args[0], err)
				}
			}
			body, err := a.body(args[1])
			if err != nil {
				return err
			}
			m := peer.Outgoing{Body: []byte(body), Priority: wire.Priority(priority), ReplyTo: replyTo}
			return a.send(cmd.Context(), args[0], m, asJSON)
		},
	}
	cmd.Flags().StringVar(&priority, "priority", "next", "now: even if the recipient is busy; next or low: when it is free")
	cmd.Flags().StringVar(&replyTo, "reply-to", "", "id of the message that this one answers")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// oneMessage says what to do about a message in several words.
func oneMessage(cmd *cobra.Command, args []string) error {
	if len(args) > 2 {
		return fmt.Errorf("the message is %d words; put it in quotes: claudemesh send %s %s", len(args)-1, shellWord(args[0]), shellWord(strings.Join(args[1:], " ")))
	}
	return cobra.ExactArgs(2)(cmd, args)
}

// body returns the message that was typed, or standard input for "-", without
// the line break at its end.
func (a *app) body(arg string) (string, error) {
	if arg == "-" {
		// What is longer than this no broker takes.
		b, err := io.ReadAll(io.LimitReader(a.in, 64<<20))
		if err != nil {
			return "", fmt.Errorf("read the message from standard input: %w", err)
		}
		arg = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	if arg == "" {
		return "", usagef("the message is empty")
	}
	return arg, nil
}

func (a *app) send(ctx context.Context, to string, m peer.Outgoing, asJSON bool) error {
	client, mesh, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	target, recipient, err := a.target(ctx, client, to, &mesh)
	if err != nil {
		return err
	}
	m.To = []wire.Target{target}
	if target.Kind == wire.TargetKey && !recipient.Verified {
		fmt.Fprintf(a.err, "warning: %s is %s\n", oneLine(recipient.Name), notVerified(recipient.Doubt))
	}
	sendCtx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	receipt, err := client.Send(sendCtx, m)
	if err != nil {
		return err
	}
	out := sent{MessageID: receipt.MessageID, ClientID: receipt.ClientID, Unreached: receipt.Unreached(), Recipients: []wire.RecipientStatus{}}
	if target.Kind == wire.TargetKey {
		out.Verified, out.Doubt = &recipient.Verified, recipient.Doubt
	}
	status, err := awaitDelivery(ctx, client, receipt.MessageID)
	if err != nil {
		// It is safe with the broker, and that is what send promises.
		fmt.Fprintln(a.err, "The message is accepted, but how far it came is not known:", printable(explain(err)))
	} else {
		out.Delivered, out.Recipients = status.Delivered, nonNil(status.Recipients)
	}
	if asJSON {
		return a.printJSON(out)
	}
	text := promise(recipient.Name, err == nil, &status)
	if out.Unreached != "" {
		text += "; " + oneLine(out.Unreached)
	}
	_, err = fmt.Fprintf(a.out, "%s  %s\n", oneLine(receipt.MessageID), text)
	return err
}

// target returns whom the message is for, and what to call them.
func (a *app) target(ctx context.Context, client *peer.Client, to string, m *peer.Mesh) (wire.Target, peer.Recipient, error) {
	if peer.IsGroupTarget(to) {
		t, err := wire.ParseTarget(to)
		return t, peer.Recipient{Name: to}, err
	}
	contacts, c, members, err := a.meet(ctx, client, to, m)
	if err != nil {
		return wire.Target{}, c, err
	}
	defer contacts.Close()
	return wire.Target{Kind: wire.TargetKey, Key: c.Key}, c, contacts.Contacts().Check(ctx, m.MeshID, to, c, members)
}

// meet finds whom a name or key means, after it has pinned the names of the members.
func (a *app) meet(ctx context.Context, client *peer.Client, to string, m *peer.Mesh) (*peer.Inbox, peer.Recipient, []wire.MemberRow, error) {
	peers, members, err := client.Roster(ctx)
	if err != nil {
		return nil, peer.Recipient{}, nil, err
	}
	c, err := peer.Resolve(to, m.Member.Public(), peers, members, time.Now())
	if err != nil {
		return nil, c, nil, err
	}
	store, err := peer.OpenInbox(ctx, a.dir)
	if err != nil {
		return nil, c, nil, err
	}
	if err := store.Contacts().PinMembers(ctx, m.MeshID, members, time.Now()); err != nil {
		store.Close()
		return nil, c, nil, err
	}
	return store, c, members, nil
}

// awaitDelivery asks how far the message came until all have it, or for statusWait.
func awaitDelivery(ctx context.Context, client *peer.Client, id string) (wire.MessageStatusResult, error) {
	deadline := time.Now().Add(statusWait)
	for {
		status, err := client.MessageStatus(ctx, id)
		if err != nil || status.Delivered || anyAway(&status) && allSettled(&status) || time.Now().After(deadline) {
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-time.After(statusPoll):
		}
	}
}

func anyAway(s *wire.MessageStatusResult) bool {
	for i := range s.Recipients {
		if s.Recipients[i].Status == wire.RecipientDisconnected {
			return true
		}
	}
	return len(s.Recipients) == 0
}

// allSettled reports whether no recipient will get the message right now.
func allSettled(s *wire.MessageStatusResult) bool {
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
			case "", "pending":
				absent = append(absent, oneLine(r.Name))
			default:
				lost = append(lost, oneLine(r.Name))
			}
		}
	}
	if len(s.Recipients) == 0 {
		return "accepted; nobody is there to get it"
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
		Use: "status <message id>", Short: "Tell how far a message came", Args: cobra.ExactArgs(1),
		Example: `  claudemesh status 019a3c5e-7b12-40d2-a6f0-8c9d1e2f3a4b
  claudemesh status 019a3c5e-7b12-40d2-a6f0-8c9d1e2f3a4b --json`,
		Long: `Tell how far a message of yours came. 8 characters of its id are enough.
--json: {messageId, targetSpec, delivered, deliveredAt, recipients [{name, pubkey, status, state, at,
cannotRead}]}.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			status, err := client.MessageStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				status.Recipients = nonNil(status.Recipients)
				return a.printJSON(status)
			}
			rows := [][]string{{"RECIPIENT", "KEY", "STATUS", "SINCE"}}
			for i := range status.Recipients {
				r := &status.Recipients[i]
				since := ""
				if r.At != nil {
					since = timeText(r.At.Time, time.Now())
				}
				status := r.Status
				if r.CannotRead != "" {
					status += ", can't read messages (" + r.CannotRead + ")"
				}
				rows = append(rows, []string{r.Name, r.Pubkey.Short(), status, since})
			}
			return a.table(rows, "KEY")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
