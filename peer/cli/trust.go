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
		Long: `Accept that a name leads to another member key than before, so that you can send to that
name again. The command shows the safety numbers of both keys and asks for confirmation.
Ask your peer over another channel whether the key is really new, and compare its number
with 'claudemesh verify'.

Only a person can confirm a key, not a model: inside Claude Code the command refuses.`,
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
		return usagef("trust needs a single peer, and %q is a group", to)
	}
	if os.Getenv("CLAUDECODE") != "" {
		return errors.New("trust: only a person can confirm a key; run this in your own terminal, outside of Claude Code")
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
	// Check with "" as the typed text: it accepts any whole key, but here the key's name counts.
	err = contacts.Check(ctx, m.MeshID, "", who, members)
	var changed *inbox.ChangedKeyError
	switch {
	case err == nil:
		_, err = fmt.Fprintf(a.out, "%s still has the key that you know; there is nothing to confirm.\n", oneLine(who.Name))
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
	_, err = fmt.Fprintf(a.out, "%s now means the member key %s. Compare its number with %s.\n",
		oneLine(changed.Name), changed.Found.Short(), copyable("`claudemesh verify`"))
	return err
}

// keysText shows the key that a name led to before, and the one that it leads to now.
func keysText(meshID string, own wire.Key, e *inbox.ChangedKeyError) string {
	name := "this name"
	if e.Alike {
		name = "a name that looks like this one"
	}
	was := "the first key that you saw under " + name
	if e.Confirmed {
		was = "the key that you COMPARED under " + name
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s leads to a different key than before.\n", oneLine(e.Name))
	for _, k := range []struct {
		head string
		key  wire.Key
	}{{"Before: " + was, e.Known}, {"Now", e.Found}} {
		fmt.Fprintf(&b, "\n%s\n  member key    %s\n  safety number\n%s", k.head, k.key, numberText(identity.SafetyNumber(meshID, own, k.key)))
	}
	b.WriteByte('\n')
	return b.String()
}

// numberText formats a safety number, three groups to a line.
func numberText(number string) string {
	var b strings.Builder
	for groups := strings.Fields(number); len(groups) > 0; groups = groups[3:] {
		fmt.Fprintf(&b, "    %s\n", strings.Join(groups[:3], "  "))
	}
	return b.String()
}

// changedText tells the user why nothing was sent, and what to do.
func changedText(e *inbox.ChangedKeyError) string {
	text := e.Error() + ". Somebody else may have the name now, or the broker may have replaced the key. Ask your peer over another channel;"
	if e.Unproven {
		return text + " to send in any case, give the whole key as the recipient."
	}
	return text + " `" + e.Command() + "` shows both keys and asks whether you trust the new one."
}
