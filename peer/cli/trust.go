package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) trustCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "trust <peer>",
		Short: "Accept that a name leads to a new key",
		Long: `Accept that a name leads to another member key than before, so that messages are sent
there again. Shows the safety numbers of both keys, and asks. Ask your peer in another way
whether the key is really new, and compare its number: 'claudemesh verify'.

It is for people. A model can't confirm a key: within Claude Code the command refuses.`,
		Example: "  claudemesh trust bob\n  claudemesh trust bob --yes    # after you have compared the numbers",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.trustKey(cmd.Context(), args[0], yes)
		},
	}
	yesFlag(cmd, &yes)
	return cmd
}

func (a *app) trustKey(ctx context.Context, to string, yes bool) error {
	if peer.IsGroupTarget(to) {
		return usagef("%q is no single peer", to)
	}
	if os.Getenv("CLAUDECODE") != "" {
		return errors.New("whether a key is right is for a person to say: run this in a terminal of your own, outside of Claude Code")
	}
	client, m, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	store, who, members, err := a.meet(ctx, client, to, &m)
	if err != nil {
		return err
	}
	defer store.Close()
	contacts := store.Contacts()
	// A whole key is never refused, but here it is its names that are in question.
	err = contacts.Check(ctx, m.MeshID, "", who, members)
	var changed *inbox.ChangedKeyError
	switch {
	case err == nil:
		_, err = fmt.Fprintf(a.out, "%s has the key by which you know that name; there is nothing to trust anew.\n", oneLine(who.Name))
		return err
	case !errors.As(err, &changed) || changed.Unproven:
		return err
	}
	fmt.Fprint(a.out, keysText(m.MeshID, m.Member.Public(), changed))
	if err := a.agree(ctx, "Does the name belong to the new key?", yes); err != nil {
		return err
	}
	if err := contacts.Accept(ctx, m.MeshID, who, members, time.Now()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s is the member key %s from now on. Compare its number with %s.\n",
		oneLine(changed.Name), changed.Found.Short(), copyable("`claudemesh verify`"))
	return err
}

// keysText shows what a name led to and what it leads to now.
func keysText(meshID string, own wire.Key, e *inbox.ChangedKeyError) string {
	was := "the first key that you saw under this name"
	if e.Confirmed {
		was = "the key that you have COMPARED under this name"
	}
	if e.Alike {
		was += ", which looks like the new one's"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s leads to another key than before.\n", oneLine(e.Name))
	for _, k := range []struct {
		head string
		key  wire.Key
	}{{"Before: " + was, e.Known}, {"Now", e.Found}} {
		fmt.Fprintf(&b, "\n%s\n  member key    %s\n  safety number\n%s", k.head, k.key, numberText(identity.SafetyNumber(meshID, own, k.key)))
	}
	b.WriteByte('\n')
	return b.String()
}

// numberText lays out a safety number.
func numberText(number string) string {
	var b strings.Builder
	for groups := strings.Fields(number); len(groups) > 0; groups = groups[3:] {
		fmt.Fprintf(&b, "    %s\n", strings.Join(groups[:3], "  "))
	}
	return b.String()
}

// changedText tells a person why nothing was sent, and what to do.
func changedText(e *inbox.ChangedKeyError) string {
	text := e.Error() + ". The name may be somebody else's now, or the broker may have put another key in its place."
	if e.Unproven {
		return text + " Ask whoever it is in another way; a whole key as the recipient is sent to in any case."
	}
	return text + " Ask whoever it is in another way; `" + e.Command() + "` shows both keys, and asks whether you trust the new one."
}
