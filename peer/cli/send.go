package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// sendTimeout is how long send waits until the broker has taken the message.
const sendTimeout = 60 * time.Second

// sent is what send --json prints.
type sent struct {
	MessageID  string                  `json:"messageId"`
	ClientID   string                  `json:"clientMessageId"`
	State      local.State             `json:"state,omitempty"` // of a message that the daemon sends, as Note
	Note       string                  `json:"note,omitempty"`
	Receipts   []local.RecipientStatus `json:"receipts,omitempty"` // what recipients have signed, with --wait read
	Delivered  bool                    `json:"delivered"`
	Verified   *bool                   `json:"verified,omitempty"` // of a message to one recipient
	Doubt      string                  `json:"doubt,omitempty"`
	Recipients []wire.RecipientStatus  `json:"recipients"`
	Unreached  string                  `json:"unreached,omitempty"` // of a message to many
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
		Long: `Send a message, sealed so that only its recipients can read it. <to> is
  a display name     of a connected peer, or of a member, for whom it waits
  a key              or a member's id, or the start of a key, 8 digits or more
  @group             everybody who is in the group, or in one below it, at this moment
  @all or *          everybody who is in the mesh at this moment
A name that led to another key before is refused: see 'claudemesh trust'. A name is found
exactly as it is written, else in any case; what looks like a key is never a name. A whole
key is always that key. A message to a group that nobody would get is not sent.
The words after <to> are the message. With '-' alone it is read from standard input, in a
terminal until Ctrl-D. Prints the short form of the message's id, and whether the message
is delivered already or waits.
Peers whose client can't open a message to a group, as those of protocol v1, get a copy
that is sealed for their own key; the answer names the peers that neither reaches.

--wait delivered asks the broker. --wait read waits for a receipt that the recipient signs
when a session's model has the message; so it is for one recipient, not for groups. People
who read with 'claudemesh inbox' give no such receipt, nor do clients of protocol v1.
--no-wait leaves the message with the daemon, on this machine's disk, and does not wait for
a broker that is away or refuses it for now: the daemon sends it as soon as it can.
'claudemesh status' tells where it is. --no-wait and --wait read need the daemon, see
'claudemesh daemon up', which sends in your name, as this command does, and for no session.

--json: {messageId, clientMessageId, delivered, recipients [{name, pubkey, status, state}], unreached?}
and, for one recipient, {verified, doubt}: verified tells that its member vouches for the
key that the message is sealed for; where it is not, doubt says why. Of a message that the
daemon sends also {state, note?, receipts? [{name, key, state, at, signed}]}, and no recipients:
state is as in 'claudemesh status', and messageId "" until the broker has the message.`,
		Example: `  claudemesh send bob the build is green
  claudemesh send bob "tests pass; may I merge?" --wait read --timeout 5m
  claudemesh send bob "for later" --no-wait
  git diff | claudemesh send @review -`,
		Annotations: exits("0  the broker has the message, or with --no-wait the daemon; with --wait the recipients have it, or have read it", "1  it is not sent, or can't reach anybody any more; standard error says why",
			exitsUsage, "3  it is sent, and not delivered to everybody, or not read, before --timeout", exitsBroken+"; standard error says whether it is sent"),
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			if f.byDaemon() && a.broker != "" {
				return usagef("--broker is of no use with --no-wait and --wait read: the daemon sends to the broker that was remembered for the mesh")
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
	cmd.Flags().StringVar(&f.priority, "priority", string(wire.Next), "now: even if the recipient is busy; next or low: when it is free")
	cmd.Flags().StringVar(&f.replyTo, "reply-to", "", "id of the message that this one answers")
	cmd.Flags().StringVar(&f.wait, "wait", "", "delivered: until every recipient has the message; read: until the model of the recipient has")
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "leave the message with the daemon, which sends it when the broker takes it")
	cmd.Flags().Var(&f.timeout, "timeout", "how long --wait waits")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (f *sendFlags) check(to string) error {
	if !wire.Priority(f.priority).Valid() {
		return usagef("--priority is now, next or low, not %q", f.priority)
	}
	switch {
	case f.wait != "" && f.wait != waitDelivered && f.wait != waitRead:
		return usagef("--wait is delivered or read, not %q", f.wait)
	case f.wait != "" && f.noWait:
		return usagef("--wait and --no-wait: it is one or the other")
	case f.wait == waitRead && peer.IsGroupTarget(to):
		return usagef("--wait read is for one recipient: a message to a group gets no receipts; --wait delivered is for groups, too")
	}
	if peer.IsGroupTarget(to) {
		if _, err := wire.ParseTarget(to); err != nil {
			return usagef("%q is no target: %w", to, err)
		}
	}
	return nil
}

// body returns the message that was typed, its words joined, or for "-" alone standard
// input without the line break at its end.
func (a *app) body(ctx context.Context, words []string) (string, error) {
	text := strings.Join(words, " ")
	if text == "-" {
		if isTerminal(a.in) {
			fmt.Fprintln(a.err, "Type the message. Ctrl-D on a line of its own sends it, Ctrl-C ends without sending.")
		} else {
			defer a.waiting("reading the message from standard input; nothing is sent before its end").done()
		}
		// What is longer than this no broker takes.
		b, err := a.readAll(ctx, 64<<20)
		if err != nil {
			return "", unsent(err)
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	}
	if text == "" {
		return "", usagef("the message is empty")
	}
	return text, nil
}

// unsentError is why a message was not sent.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

func unsent(err error) error { return unsentError{err} }

// fateError tells what becomes of a message whose command has ended before that was known.
type fateError struct {
	text  string
	cause error
}

func (e *fateError) Error() string { return e.text }
func (e *fateError) Unwrap() error { return e.cause }

func (a *app) send(ctx context.Context, to, body string, f *sendFlags) error {
	w := a.waiting("")
	defer w.done()
	client, mesh, err := a.connectTelling(ctx, w, "; nothing is sent yet, and Ctrl-C leaves it so"+a.byDaemonHint())
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
	w.next(fmt.Sprintf("the broker has not taken the message yet; trying again for up to %s, and Ctrl-C gives up%s", sendTimeout, a.byDaemonHint()))
	receipt, err := a.submit(ctx, client, peer.Outgoing{
		To: []wire.Target{target}, Body: []byte(body), Priority: wire.Priority(f.priority), ReplyTo: f.replyTo, MustReach: true,
	})
	if err != nil {
		return explainTarget(ctx, client, to, err)
	}
	a.rememberSent(sentEntry{MeshID: mesh.MeshID, MessageID: receipt.MessageID, To: recipient.Name})
	w.next("the broker has the message; waiting to hear how far it comes, and Ctrl-C ends only that")
	status, known, err := a.follow(ctx, client, receipt.MessageID, f)
	if err != nil {
		return err
	}
	w.done()
	out := sent{MessageID: receipt.MessageID, ClientID: receipt.ClientID, Unreached: receipt.Unreached(), Recipients: nonNil(status.Recipients), Delivered: known && status.Delivered}
	if target.Kind == wire.TargetKey {
		out.Verified, out.Doubt = &recipient.Verified, recipient.Doubt
	}
	if f.json {
		err = a.printJSON(out)
	} else {
		text := promise(recipient.Name, known, &status)
		if out.Unreached != "" {
			text += "; " + oneLine(out.Unreached)
		}
		_, err = fmt.Fprintf(a.out, "%s  %s\n", oneLine(peer.ShortID(receipt.MessageID)), text)
	}
	if err != nil {
		return err
	}
	return a.outcome(f, known, &status)
}

// submit hands the message to the broker, for sendTimeout at most.
func (a *app) submit(ctx context.Context, client *peer.Client, m peer.Outgoing) (peer.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	receipt, err := client.Send(ctx, m)
	switch {
	case err == nil, receipt.MessageID != "":
		return receipt, err
	case errors.Is(err, peer.ErrUnacknowledged):
		return receipt, &fateError{"the broker may have the message or not: it was handed over, and no answer came; ask whether it arrived before you send it again", err}
	}
	return receipt, unsent(err)
}

// explainTarget says who may have been meant by a group that nobody is in.
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
