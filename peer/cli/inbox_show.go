package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

// showBefore shows a page of older messages from the disk.
func (r *reader) showBefore(ctx context.Context) error {
	m, err := r.store.Mail(ctx, r.mesh.MeshID, r.flags.before)
	if err != nil {
		return err
	}
	r.before = m.ID
	return r.show(ctx)
}

func (a *app) inboxShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show <message id>",
		Short: "Show all of a message",
		Example: `  claudemesh inbox show 1a2b3c4d
  claudemesh inbox show 1a2b3c4d --json`,
		Long: `Show a message in the inbox with all its details. It is read from the disk. The last 8
characters of its id, as inbox prints them, or the first 8 are enough.

` + inboxJSON,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, m, err := a.mail(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer store.Close()
			if asJSON {
				err = a.printJSON(m)
			} else {
				_, err = fmt.Fprint(a.out, a.letterText(&m, time.Now()))
			}
			if err != nil {
				return fmt.Errorf("print message: %w", err)
			}
			return store.MarkRead(cmd.Context(), []inbox.Stored{m}, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// mail finds a message in the inbox. The caller closes the inbox.
func (a *app) mail(ctx context.Context, id string) (*inbox.Inbox, inbox.Stored, error) {
	if err := peer.CheckMessageID(id); err != nil {
		return nil, inbox.Stored{}, usageError{err}
	}
	mesh, store, err := a.openInbox(ctx)
	if err != nil {
		return nil, inbox.Stored{}, err
	}
	m, err := store.Mail(ctx, mesh.MeshID, id)
	if err != nil {
		store.Close()
		return nil, m, err
	}
	return store, m, nil
}

// messageText formats a message for the list. It indents all lines after the first, so that
// one message can't look like several.
func (a *app) messageText(m *inbox.Stored, now time.Time) string {
	head := a.paint(dim, strings.TrimSuffix(timeText(m.CreatedAt, now)+" "+oneLine(peer.ShortID(m.MessageID)), " ")) + " " + a.paint(bold, oneLine(m.From))
	if to := toText(m); to != "" {
		head += " to " + to
	}
	if m.Priority != "" && m.Priority != string(wire.Next) {
		head += " " + a.paint(yellow, "["+oneLine(m.Priority)+"]")
	}
	if m.ReplyTo != "" {
		head += " " + a.paint(dim, "[answers "+oneLine(peer.ShortID(m.ReplyTo))+"]")
	}
	switch {
	case m.Sealing == peer.Unopened:
		return head + " " + a.paint(red, "[can't be opened: "+oneLine(m.Error)+"]")
	case m.Sealing == peer.NotEncrypted:
		head += " " + a.paint(yellow, "[NOT ENCRYPTED, anybody may have written this]")
	case !m.Verified:
		head += " " + a.paint(yellow, "["+notVerified(m.Doubt)+"]")
	}
	return head + ": " + strings.ReplaceAll(printable(m.Body), "\n", "\n    ")
}

// toText names the recipients of a message; it returns "" if the user is the only one.
func toText(m *inbox.Stored) string {
	var to []string
	for _, t := range m.To {
		if t == "*" {
			t = "everybody"
		}
		to = append(to, oneLine(t))
	}
	switch {
	case len(to) > 0:
		return strings.Join(to, ", ")
	case m.Sealing == peer.InMesh:
		return "the mesh"
	case m.Sealing == peer.Copied:
		return "several"
	}
	return ""
}

// letterText formats all of a message for inbox show.
func (a *app) letterText(m *inbox.Stored, now time.Time) string {
	var b strings.Builder
	line := func(head, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%s %s\n", a.paint(dim, fmt.Sprintf("%-9s", head)), text)
		}
	}
	from := oneLine(m.From) + ", key " + m.SenderKey().Short()
	switch {
	case !m.Verified:
		from += ", " + notVerified(m.Doubt)
	case m.Compared:
		from += ", proven, and compared by voice"
	default:
		from += ", proven"
	}
	line("From", from)
	to := toText(m)
	if to == "" {
		to = "you"
	}
	line("To", to)
	line("Sent", m.CreatedAt.Local().Format("2006-01-02 15:04:05")+" ("+ago(m.CreatedAt, now)+")")
	line("Id", oneLine(m.MessageID))
	line("Answers", oneLine(m.ReplyTo))
	line("Topic", oneLine(m.Topic))
	if m.Priority != string(wire.Next) {
		line("Priority", oneLine(m.Priority))
	}
	line("Sealed", sealingText(m.Sealing))
	if m.Sealing == peer.Unopened {
		line("Problem", oneLine(m.Error))
		return b.String()
	}
	return b.String() + "\n" + printable(m.Body) + "\n"
}

// sealingText says who could read a message in transit.
func sealingText(s peer.Sealing) string {
	switch s {
	case peer.Direct:
		return "for you alone"
	case peer.Copied:
		return "for you alone (your copy of a message to several recipients)"
	case peer.InMesh:
		return "for the members of the mesh"
	case peer.NotEncrypted:
		return "NOT ENCRYPTED, anybody may have written this"
	}
	return "can't be opened"
}
