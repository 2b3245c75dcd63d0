package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// drainTimeout is how long inbox waits until the broker has delivered all queued messages.
	drainTimeout = 60 * time.Second
	// quiet is how long inbox waits for another message from a broker that doesn't announce
	// the last one.
	quiet = 2 * time.Second
)

// inboxFlags are the flags of inbox.
type inboxFlags struct {
	follow, json, all, unread bool
	limit                     int
	from, group, before       string
	since                     moment
}

func (a *app) inboxCommand() *cobra.Command {
	var f inboxFlags
	cmd := &cobra.Command{
		SuggestFor: []string{"messages", "read", "mail"},
		Use:        "inbox",
		Short:      "Fetch and show messages",
		Example: `  claudemesh inbox
  claudemesh inbox --follow --all --limit 20
  claudemesh inbox --from bob --since yesterday
  claudemesh inbox --group ops --limit 20 --before 1a2b3c4d`,
		Long: `Fetch the messages that wait for you, and show those that you have not seen. With --follow,
stay connected and show messages as they arrive. Every message is written to disk before
it is acknowledged to the broker, and is kept for 30 days after it was shown. While the
daemon runs, the daemon receives the messages, and inbox shows what the daemon has stored.

A line holds the time, the last part of the message's id, and the sender; then the
recipients, if the message is not for you alone, and the priority, if it is not next.
'claudemesh inbox show' shows all of a message; 'claudemesh reply' answers it.

--from, --group, --since and --before also search the messages that were shown before,
unless you add --unread. --before only reads the disk; use it with --limit to page back.

` + inboxJSON,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.inbox(cmd.Context(), &f)
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "stay connected and show messages as they arrive")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, one object per line")
	cmd.Flags().BoolVar(&f.all, "all", false, "also show messages that were shown before")
	cmd.Flags().BoolVar(&f.unread, "unread", false, "only show messages that were not shown before")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "show only this many of the newest messages (default all)")
	cmd.Flags().StringVar(&f.from, "from", "", "only messages from this sender: a name, or the first 8 or more digits of a key")
	cmd.Flags().StringVar(&f.group, "group", "", "only messages to this group; \"all\" selects messages to everybody")
	cmd.Flags().Var(&f.since, "since", sinceHelp)
	cmd.Flags().StringVar(&f.before, "before", "", "only messages older than this one; give its id, or the last 8 characters")
	cmd.MarkFlagsMutuallyExclusive("all", "unread")
	cmd.MarkFlagsMutuallyExclusive("follow", "before")
	cmd.AddCommand(a.inboxShowCommand())
	return cmd
}

// inboxJSON describes a message as JSON.
const inboxJSON = `--json: one object per line: {messageId, clientMessageId, from, senderPubkey,
senderMemberPubkey, verified, compared, doubt, sealing, to, body, error, priority, topic,
replyTo, createdAt, receivedAt, read}. verified means that the member with senderMemberPubkey
provably sent the message, whatever the broker says; otherwise doubt says what is wrong.
compared means that you have compared that member's key by voice. to lists each @group, or
* for everybody, as the broker reports it; it is missing if the message is for you alone.
sealing is direct (sealed for you alone), copy (your own sealed copy of a message to many),
mesh (sealed for the members), none (not encrypted) or unopened (error says why).`

func (f *inboxFlags) check() error {
	if f.limit < 0 {
		return usagef("--limit must not be negative")
	}
	if f.before != "" {
		if err := peer.CheckMessageID(f.before); err != nil {
			return usageError{err}
		}
	}
	if f.group != "" {
		target, err := wire.ParseTarget("@" + strings.TrimLeft(f.group, "@"))
		if err != nil && f.group != "*" {
			return usagef("%q isn't a valid group name", f.group)
		}
		f.group = "*"
		if err == nil {
			f.group = peer.TargetText(target)
		}
	}
	if !f.unread && (f.from != "" || f.group != "" || f.before != "" || !f.since.IsZero()) {
		f.all = true
	}
	return nil
}

// reader shows the messages of one mesh.
type reader struct {
	*app
	flags *inboxFlags
	mesh  peer.Mesh
	store *inbox.Inbox
	last  int64 // the newest message that was shown
	// before limits the list to messages older than this one; 0 means no limit
	before int64
	fresh  chan struct{} // buffered: signals that messages were stored
}

// openInbox returns the mesh of the command, and the inbox, which the caller closes.
func (a *app) openInbox(ctx context.Context) (peer.Mesh, *inbox.Inbox, error) {
	m, err := a.joined()
	if err != nil {
		return m, nil, err
	}
	store, err := inbox.Open(ctx, a.dir)
	return m, store, err
}

func (a *app) inbox(ctx context.Context, f *inboxFlags) error {
	m, store, err := a.openInbox(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Prune(ctx, time.Now()); err != nil {
		return err
	}
	r := &reader{app: a, flags: f, mesh: m, store: store, fresh: make(chan struct{}, 1)}
	if f.before != "" {
		return r.showBefore(ctx)
	}
	if serves, problem := a.daemonServes(ctx, m.MeshID); serves {
		err := r.readDaemon(ctx, problem, daemonGrace)
		if !errors.Is(err, errDaemonGone) {
			return err
		}
		fmt.Fprintln(a.err, "The daemon no longer receives the messages of this mesh; this command receives them now.")
	}
	lock, err := peer.TryLock(a.dir.Path("inbox-" + shortHash(m.MeshID) + ".lock"))
	if errors.Is(err, peer.ErrLocked) {
		fmt.Fprintln(a.err, "Another `claudemesh inbox` receives the messages of this mesh; showing what it has stored.")
		if err := r.show(ctx); err != nil || !f.follow {
			return err
		}
		return errors.New("inbox --follow: another `claudemesh inbox` already follows this mesh; stop it first")
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if f.follow {
		return r.follow(ctx)
	}
	fetchErr := r.fetch(ctx)
	if err := r.show(ctx); err != nil {
		return err
	}
	if fetchErr == nil && r.last == 0 && a.terminal {
		fmt.Fprintln(a.err, "No new messages; `claudemesh inbox --all` also shows the ones you have seen.")
	}
	return fetchErr
}

// options returns the options of a connection that receives messages. Its session id depends
// only on the machine and the config directory, so that peers recognize it.
func (r *reader) options() peer.Options {
	o := peer.Options{Mesh: r.mesh, About: r.about(wire.CapCaughtUp), OnMessage: r.take}
	dir, err := filepath.Abs(string(r.dir))
	if err != nil {
		dir = string(r.dir)
	}
	o.About.SessionID = "inbox-" + shortHash(o.About.Hostname+"\n"+dir)
	return o
}

// take stores a message. The client acknowledges the message to the broker if take returns
// nil.
func (r *reader) take(ctx context.Context, m peer.Incoming) error {
	if _, err := r.store.Add(ctx, inbox.Mailbox{MeshID: r.mesh.MeshID}, &m, time.Now()); err != nil {
		return err
	}
	select {
	case r.fresh <- struct{}{}:
	default: // a signal is already pending
	}
	return nil
}

// fetch stores all queued messages.
func (r *reader) fetch(ctx context.Context) error {
	caughtUp := make(chan struct{}, 1)
	o := r.options()
	o.OneShot = true
	o.OnCaughtUp = func() {
		select {
		case caughtUp <- struct{}{}:
		default:
		}
	}
	client, err := r.dial(ctx, o)
	if err != nil {
		return err
	}
	defer client.Close()
	ack, err := client.HelloAck(ctx)
	if err != nil {
		return err
	}
	var silence <-chan time.Time
	says := slices.Contains(ack.Capabilities, wire.CapCaughtUp)
	timeout := time.After(drainTimeout)
	for {
		if !says {
			silence = time.After(quiet)
		}
		select {
		case <-caughtUp:
			return nil
		case <-silence:
			return nil
		case <-r.fresh:
		case <-timeout:
			return fmt.Errorf("the broker did not deliver all queued messages within %s; run `claudemesh inbox` again", drainTimeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow shows messages as they arrive until ctx ends.
func (r *reader) follow(ctx context.Context) error {
	o := r.options()
	o.OnState = r.tell
	client, err := peer.New(o)
	if err != nil {
		return err
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.Run(runCtx) }()
	stop := func() error { cancel(); return <-ended }
	for {
		if err := r.show(context.WithoutCancel(ctx)); err != nil {
			_ = stop() // always context.Canceled
			return err
		}
		select {
		case <-r.fresh:
		case err := <-ended:
			if showErr := r.show(context.WithoutCancel(ctx)); showErr != nil {
				return showErr
			}
			if ctx.Err() != nil {
				return nil // the user stopped it
			}
			return err
		}
	}
}

// tell reports the state of the connection.
func (r *reader) tell(s peer.State) {
	switch {
	case s.Connected:
		fmt.Fprintf(r.err, "Connected to %s; waiting for messages. Press Ctrl-C to stop.\n", oneLine(r.mesh.Slug))
	case s.RetryIn > 0:
		when := "at once"
		if s.RetryIn > time.Second/2 {
			when = "in " + s.RetryIn.Round(100*time.Millisecond).String()
		}
		fmt.Fprintf(r.err, "Not connected: %s\nRetrying %s.\n", printable(explain(s.Err)), when)
	}
}

// show prints the messages that it has not shown yet, and marks them as read.
func (r *reader) show(ctx context.Context) error {
	o := inbox.ListOptions{
		All: r.flags.all, After: r.last, Limit: r.flags.limit, Before: r.before, Since: r.flags.since.Time, From: r.flags.from, Group: r.flags.group,
	}
	if r.last > 0 {
		o.Limit = 0 // the limit applies to the first list only
	}
	list, err := r.store.List(ctx, r.mesh.MeshID, o)
	if err != nil {
		return err
	}
	for i := range list {
		if r.flags.json {
			err = r.printJSONLine(list[i])
		} else {
			_, err = fmt.Fprintln(r.out, r.messageText(&list[i], time.Now()))
		}
		if err != nil {
			return fmt.Errorf("print message: %w", err)
		}
		r.last = list[i].ID
	}
	return r.store.MarkRead(ctx, list, time.Now())
}

// shortHash returns a short hash of s for the name of a file or session.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
