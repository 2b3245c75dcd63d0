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
	// drainTimeout is how long inbox waits for all that was waiting for it.
	drainTimeout = 60 * time.Second
	// quiet is how long nothing must come from a broker that does not say
	// when all has come.
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
		Long: `Fetch what is waiting and show the messages that were not shown before. With --follow,
stay connected and show messages as they come. Messages are stored on disk before the
broker may forget them, and kept for 30 days after they were shown. While the daemon
runs, it receives them, and this shows what it has stored.

A line has the time, the end of the message's id and the sender, then to whom the message
is if not to you alone, and its priority if that is not next. 'claudemesh inbox show' shows
all of a message, 'claudemesh reply' answers it.

--from, --group, --since and --before choose among the messages that were shown before,
too, unless there is --unread. --before reads the disk only: with --limit it turns pages.

` + inboxJSON,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return a.inbox(cmd.Context(), &f)
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "stay, and show messages as they come")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, one object a line")
	cmd.Flags().BoolVar(&f.all, "all", false, "messages that were shown before, too")
	cmd.Flags().BoolVar(&f.unread, "unread", false, "only messages that were not shown before")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "the newest so many (default all)")
	cmd.Flags().StringVar(&f.from, "from", "", "only messages of this sender: a name, or the start of a key (8 digits or more)")
	cmd.Flags().StringVar(&f.group, "group", "", "only messages to this group, or with all to everybody")
	cmd.Flags().Var(&f.since, "since", sinceHelp)
	cmd.Flags().StringVar(&f.before, "before", "", "only messages before this one, by the end of its id")
	cmd.MarkFlagsMutuallyExclusive("all", "unread")
	cmd.MarkFlagsMutuallyExclusive("follow", "before")
	cmd.AddCommand(a.inboxShowCommand())
	return cmd
}

// inboxJSON says what a message is as JSON.
const inboxJSON = `--json: one object a line: {messageId, clientMessageId, from, senderPubkey,
senderMemberPubkey, verified, compared, doubt, sealing, to, body, error, priority, topic,
replyTo, createdAt, receivedAt, read}. verified tells that the message is from the member
with senderMemberPubkey, whatever the broker says; where it is not, doubt says why. compared
tells that you have compared that member's key by voice. to is an array of @group and *
(everybody), in the broker's words; there is none for a message to you alone.
sealing is direct (for you alone), copy (the same, of a message to many), mesh (for members
of the mesh), none (came unencrypted) or unopened (error says why).`

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
			return usagef("%q can't be the name of a group", f.group)
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
	// before is the message before which to look; 0: all
	before int64
	fresh  chan struct{} // has room for one: messages were stored
}

func (a *app) inbox(ctx context.Context, f *inboxFlags) error {
	m, err := a.joined()
	if err != nil {
		return err
	}
	store, err := inbox.Open(ctx, a.dir)
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
		return r.readDaemon(ctx, problem)
	}
	lock, err := peer.TryLock(a.dir.Path("inbox-" + shortHash(m.MeshID) + ".lock"))
	if errors.Is(err, peer.ErrLocked) {
		fmt.Fprintln(a.err, "Another `claudemesh inbox` is connected for this mesh; showing what it has stored.")
		if err := r.show(ctx); err != nil || !f.follow {
			return err
		}
		return errors.New("another `claudemesh inbox` follows this mesh already; stop it first")
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
		fmt.Fprintln(a.err, "No new messages; `claudemesh inbox --all` shows those that were shown before.")
	}
	return fetchErr
}

// options are those of a connection that receives. The session id stays the
// same for this machine and directory, so that the peer is known again.
func (r *reader) options() peer.Options {
	o := peer.Options{Mesh: r.mesh, About: r.about(wire.CapCaughtUp), OnMessage: r.take}
	dir, err := filepath.Abs(string(r.dir))
	if err != nil {
		dir = string(r.dir)
	}
	o.About.SessionID = "inbox-" + shortHash(o.About.Hostname+"\n"+dir)
	return o
}

// take stores a message. When it returns nil the broker may forget the message.
func (r *reader) take(ctx context.Context, m peer.Incoming) error {
	if _, err := r.store.Add(ctx, inbox.Mailbox{MeshID: r.mesh.MeshID}, &m, time.Now()); err != nil {
		return err
	}
	select {
	case r.fresh <- struct{}{}:
	default: // the one before is still to be looked at
	}
	return nil
}

// fetch stores all that is waiting.
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
			return errors.New("not all that is waiting came in time; run `claudemesh inbox` again")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow shows messages as they come until ctx ends.
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
			_ = stop() // says no more than that it was canceled
			return err
		}
		select {
		case <-r.fresh:
		case err := <-ended:
			if showErr := r.show(context.WithoutCancel(ctx)); showErr != nil {
				return showErr
			}
			if ctx.Err() != nil {
				return nil // stopped by hand
			}
			return err
		}
	}
}

// tell says how the connection stands.
func (r *reader) tell(s peer.State) {
	switch {
	case s.Connected:
		fmt.Fprintf(r.err, "Connected to %s; waiting for messages. Ctrl-C stops.\n", oneLine(r.mesh.Slug))
	case s.RetryIn > 0:
		fmt.Fprintf(r.err, "Not connected: %s\nTrying again in %s.\n", printable(explain(s.Err)), s.RetryIn.Round(100*time.Millisecond))
	}
}

// show prints what was not shown yet, and marks it as read.
func (r *reader) show(ctx context.Context) error {
	o := inbox.ListOptions{
		All: r.flags.all, After: r.last, Limit: r.flags.limit, Before: r.before, Since: r.flags.since.Time, From: r.flags.from, Group: r.flags.group,
	}
	if r.last > 0 {
		o.Limit = 0 // the limit is for what was there at the start
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

// shortHash stands for a text in the name of a file or session.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
