package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// sendTimeout is how long send waits for the broker to accept the message.
const sendTimeout = 60 * time.Second

// sent is what send --json prints.
type sent struct {
	MessageID  string                  `json:"messageId"`
	ClientID   string                  `json:"clientMessageId"`
	State      local.State             `json:"state,omitempty"` // State and Note: only if the daemon sends the message, or the broker has forgotten it
	Note       string                  `json:"note,omitempty"`
	Receipts   []local.RecipientStatus `json:"receipts,omitempty"` // signed by recipients; only with --wait read
	Delivered  bool                    `json:"delivered"`
	Verified   *bool                   `json:"verified,omitempty"` // only for a message to one recipient
	Doubt      string                  `json:"doubt,omitempty"`
	Recipients []wire.RecipientStatus  `json:"recipients"`
	Unreached  string                  `json:"unreached,omitempty"` // only for a message to a group
}

// sendFlags are the flags of send.
type sendFlags struct {
	priority, replyTo string
	wait              string
	noWait            bool
	timeout           duration
	json              bool
}

func (a *app) sendCommand() *cobra.Command {
	f := sendFlags{timeout: duration(30 * time.Second)}
	cmd := &cobra.Command{
		Use:   "send <to> <message...>",
		Short: "Send a message",
		Long: `Send a message, sealed so that only its recipients can read it. <to> is one of
  a display name     of a connected peer, or of a member who is away: the message is queued
  a key              or a member's id, or the first 8 or more digits of a key
  @group             everybody who is in the group, or in a group below it, right now
  @all or *          everybody who is in the mesh right now
A display name matches exactly, or else ignoring case. Text that looks like a key is never
taken for a name, and a whole key always means that key. If a name leads to another key
than before, send refuses it; see 'claudemesh trust'. A message to a group is not sent if
nobody would get it.
The words after <to> are the message. If the only word is '-', send reads the message from
standard input (on a terminal, until Ctrl-D). It prints the short id of the message, and
whether the message is delivered or queued.
Some clients, such as those of protocol v1, can't open a message to a group. Those peers
get a copy that is sealed for their own key; the output names the peers that can't get
one either.

--wait delivered asks the broker. --wait read waits for a receipt: the recipient signs it
when the model of a session has the message. It works for one recipient, not for groups.
Messages read with 'claudemesh inbox' and clients of protocol v1 don't produce receipts.
--no-wait stores the message with the daemon, on this machine's disk, and returns even if
the broker is unreachable or refuses the message for now. The daemon sends it as soon as
it can, as this member and not as a session; 'claudemesh status' shows its state.
--no-wait and --wait read need the daemon; see 'claudemesh daemon up'.

--json: {messageId, clientMessageId, delivered, recipients [{name, pubkey, status, state}], unreached?}
and, for one recipient, {verified, doubt}. verified means that the recipient's member vouches
for the key that the message is sealed for; otherwise doubt says why not. For a message
that the daemon sends there is also {state, note?, receipts? [{name, key, state, at, signed}]},
and recipients is empty: state is as in 'claudemesh status', and messageId is "" until the
broker has the message. For other messages, state is there only if it is forgotten.`,
		Example: `  claudemesh send bob the build is green
  claudemesh send bob "tests pass; may I merge?" --wait read --timeout 5m
  claudemesh send bob "for later" --no-wait
  git diff | claudemesh send @review -`,
		Annotations: exits("0  the broker (with --no-wait: the daemon) has the message; with --wait, every recipient has it or has read it", "1  not sent, no recipient can get it any more, or the broker no longer knows it; the output says why",
			exitsUsage, "3  sent, but not delivered to everybody, or not read, within --timeout", exitsBroken+"; standard error says whether the message is sent"),
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			if f.byDaemon() && a.broker != "" {
				return usagef("--broker can't be combined with --no-wait or --wait read: the daemon always uses the mesh's own broker; leave out --broker")
			}
			body, err := a.body(cmd.Context(), args[1:])
			if err != nil {
				return err
			}
			if f.byDaemon() {
				return a.sendByDaemon(cmd.Context(), args[0], body, &f)
			}
			return a.send(cmd.Context(), args[0], body, &f)
		},
	}
	cmd.Flags().StringVar(&f.priority, "priority", string(wire.Next), "now: deliver even if the recipient is busy; next or low: deliver when it is free")
	cmd.Flags().StringVar(&f.replyTo, "reply-to", "", "id of the message that this one answers")
	cmd.Flags().StringVar(&f.wait, "wait", "", "wait until every recipient has the message (delivered), or until the recipient's model has it (read)")
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "leave the message with the daemon, which sends it when the broker accepts it")
	cmd.Flags().Var(&f.timeout, "timeout", "how long --wait waits")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (f *sendFlags) check(to string) error {
	if !wire.Priority(f.priority).Valid() {
		return usagef("--priority must be now, next or low, not %q", f.priority)
	}
	switch {
	case f.wait != "" && f.wait != waitDelivered && f.wait != waitRead:
		return usagef("--wait must be delivered or read, not %q", f.wait)
	case f.wait != "" && f.noWait:
		return usagef("use either --wait or --no-wait, not both")
	case f.wait == waitRead && peer.IsGroupTarget(to):
		return usagef("--wait read works for one recipient only: nobody signs a receipt for a message to a group; use --wait delivered")
	}
	if peer.IsGroupTarget(to) {
		if _, err := wire.ParseTarget(to); err != nil {
			return usagef("%q isn't a valid recipient: %w", to, err)
		}
	}
	return nil
}

// body joins the words of a message. A single "-" stands for standard input; body cuts off
// the line break at its end.
func (a *app) body(ctx context.Context, words []string) (string, error) {
	text := strings.Join(words, " ")
	if text == "-" {
		if !isTerminal(a.in) {
			defer a.waiting("reading the message from standard input; nothing is sent until it ends").done()
		}
		// No broker accepts a longer message.
		b, err := io.ReadAll(io.LimitReader(a.stdin(ctx, "Type the message. Ctrl-D on a line of its own sends it; Ctrl-C cancels."), 64<<20))
		if err != nil {
			return "", unsent(fmt.Errorf("read standard input: %w", err))
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	if text == "" {
		return "", usagef("the message is empty")
	}
	return text, nil
}

// unsentError says why a message was not sent.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

func unsent(err error) error { return unsentError{err} }

// fateError says what happens to a message after its command ends early.
type fateError struct {
	text  string
	cause error
}

func (e *fateError) Error() string { return e.text }
func (e *fateError) Unwrap() error { return e.cause }

func (a *app) send(ctx context.Context, to, body string, f *sendFlags) error {
	w := a.waiting("")
	defer w.done()
	client, mesh, err := a.connectTelling(ctx, w, "; nothing is sent yet, and Ctrl-C cancels"+a.byDaemonHint())
	if err != nil {
		return unsent(err)
	}
	defer client.Close()
	target, recipient, err := a.target(ctx, client, to, &mesh)
	if err != nil {
		return unsent(err)
	}
	if target.Kind == wire.TargetKey && !recipient.Verified {
		fmt.Fprintf(a.err, "warning: %s is %s\n", oneLine(recipient.Name), notVerified(recipient.Doubt))
	}
	w.next(fmt.Sprintf("the broker has not accepted the message yet; retrying for up to %s, and Ctrl-C gives up%s", sendTimeout, a.byDaemonHint()))
	receipt, err := a.submit(ctx, client, peer.Outgoing{
		To: []wire.Target{target}, Body: []byte(body), Priority: wire.Priority(f.priority), ReplyTo: f.replyTo, MustReach: true,
	})
	if err != nil {
		return explainTarget(ctx, client, to, err)
	}
	a.rememberSent(sentEntry{MeshID: mesh.MeshID, MessageID: receipt.MessageID, To: recipient.Name})
	w.next("the broker has the message; waiting for its delivery, and Ctrl-C only stops waiting")
	status, known, err := a.follow(ctx, client, receipt.MessageID, f)
	forgotten := peer.IsNotFound(err)
	if err != nil && !forgotten {
		return err
	}
	w.done()
	out := sent{MessageID: receipt.MessageID, ClientID: receipt.ClientID, Unreached: receipt.Unreached(), Recipients: nonNil(status.Recipients), Delivered: known && status.Delivered}
	if target.Kind == wire.TargetKey {
		out.Verified, out.Doubt = &recipient.Verified, recipient.Doubt
	}
	if forgotten {
		out.State = local.Forgotten
	}
	if f.json {
		err = a.printJSON(out)
	} else {
		text := promise(recipient.Name, known, &status)
		if forgotten {
			text = stateText(out.State, recipient.Name)
		}
		if out.Unreached != "" {
			text += "; " + oneLine(out.Unreached)
		}
		_, err = fmt.Fprintf(a.out, "%s  %s\n", oneLine(peer.ShortID(receipt.MessageID)), text)
	}
	if err != nil {
		return sentUnprinted("the broker", receipt.MessageID, err)
	}
	if forgotten {
		return errReported
	}
	return a.outcome(f, known, &status)
}

// sentUnprinted says that a message is on its way although the output could not be written. The
// user must not send it again.
func sentUnprinted(holder, id string, err error) error {
	return &fateError{fmt.Sprintf("%s has the message %s and delivers it, but the output could not be written: %s", holder, oneLine(peer.ShortID(id)), err), err}
}

// submit sends the message to the broker and waits up to sendTimeout for its answer.
func (a *app) submit(ctx context.Context, client *peer.Client, m peer.Outgoing) (peer.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	receipt, err := client.Send(ctx, m)
	switch {
	case err == nil, receipt.MessageID != "":
		return receipt, err
	case errors.Is(err, peer.ErrUnacknowledged):
		return receipt, &fateError{"the message may or may not have been sent: the broker did not acknowledge it in time; ask the recipient before you send it again", err}
	}
	return receipt, unsent(err)
}

// explainTarget adds to the refusal of an empty group which groups the user may have meant.
func explainTarget(ctx context.Context, client *peer.Client, to string, err error) error {
	var refused *peer.RefusedError
	if !peer.IsGroupTarget(to) || !errors.As(err, &refused) || refused.Code != wire.AckTargetNotFound {
		return err
	}
	nobody := &peer.ReachesNobodyError{Target: to, Reason: refused.Reason}
	if peers, members, err := client.Roster(ctx); err == nil {
		nobody.Meant = peer.Meant(to, peers, members)
	}
	return nobody
}

// target returns the recipient of the message, and the name to show for it.
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

// meet pins the names of the members, and then finds the recipient that a name or key means.
func (a *app) meet(ctx context.Context, client *peer.Client, to string, m *peer.Mesh) (*inbox.Inbox, peer.Recipient, []wire.MemberRow, error) {
	peers, members, err := client.Roster(ctx)
	if err != nil {
		return nil, peer.Recipient{}, nil, err
	}
	c, err := peer.Resolve(to, m.Member.Public(), peers, members, time.Now())
	if err != nil {
		return nil, c, nil, err
	}
	store, err := inbox.Open(ctx, a.dir)
	if err != nil {
		return nil, c, nil, err
	}
	if err := store.Contacts().PinMembers(ctx, m.MeshID, members, time.Now()); err != nil {
		store.Close()
		return nil, c, nil, err
	}
	return store, c, members, nil
}
