package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) verifyCommand() *cobra.Command {
	var confirm bool
	cmd := &cobra.Command{
		Use:   "verify <peer>",
		Short: "Compare keys with a peer by voice",
		Long: `Show the safety number of your member key and a peer's member key. Both of you see the
same number, unless somebody, such as the broker, has replaced a key between you. Compare
the numbers on a call or in person, not through the mesh, and then run the command again
with --confirm.`,
		Example: "  claudemesh verify bob\n  claudemesh verify bob --confirm",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verify(cmd.Context(), args[0], confirm)
		},
	}
	cmd.Flags().BoolVar(&confirm, "confirm", false, "remember that you have compared the numbers, and that they are the same")
	return cmd
}

func (a *app) verify(ctx context.Context, name string, confirm bool) error {
	if peer.IsGroupTarget(name) {
		return usagef("verify needs a single peer, and %q is a group", name)
	}
	client, m, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	who, err := client.Resolve(ctx, name)
	if err != nil {
		return err
	}
	own := m.Member.Public()
	switch {
	case who.Member.IsZero():
		return fmt.Errorf("verify %s: no member is known for this key; give the name of the member instead", who.Key.Short())
	case who.Member == own:
		return fmt.Errorf("verify %q: this is your own key; there is nothing to compare", name)
	}
	members, err := client.ListMembers(ctx)
	var request *peer.RequestError
	if err != nil && !errors.As(err, &request) { // other broker implementations may not support it
		return err
	}
	store, err := inbox.Open(ctx, a.dir)
	if err != nil {
		return err
	}
	defer store.Close()
	v := verification{
		name:   memberName(members, who.Member, who.Name),
		own:    memberName(members, own, ""),
		member: who.Member,
		number: identity.SafetyNumber(m.MeshID, own, who.Member),
	}
	rows, err := client.ListPeers(ctx)
	if err != nil {
		return err
	}
	if mayBeV1(rows, who.Member) {
		v.v1 = identity.SafetyNumberV1(own, who.Member)
	}
	if v.contact, err = contact(ctx, store.Contacts(), m.MeshID, &v, confirm); err != nil {
		return err
	}
	_, err = fmt.Fprint(a.out, v.text(confirm))
	return err
}

// contact pins the peer and returns its contact. With confirm it first records that the user
// has compared the key.
func contact(ctx context.Context, contacts inbox.Contacts, meshID string, v *verification, confirm bool) (inbox.Contact, error) {
	now := time.Now()
	known, err := contacts.Pin(ctx, meshID, v.member, v.name, now)
	if err != nil || !confirm {
		return known, err
	}
	if err := contacts.Confirm(ctx, meshID, v.member, v.name, now); err != nil {
		return inbox.Contact{}, err
	}
	// Pin again: the confirmation may have settled a doubt about the name.
	return contacts.Pin(ctx, meshID, v.member, v.name, now)
}

// memberName returns the member's own name, or else the name of its session.
func memberName(members []wire.MemberRow, key wire.Key, session string) string {
	for i := range members {
		if members[i].Pubkey == key {
			session = members[i].DisplayName
		}
	}
	if strings.TrimSpace(session) == "" {
		return key.Short()
	}
	return session
}

// verification is what verify shows.
type verification struct {
	name, own string // of the peer's member and of our own
	member    wire.Key
	number    string
	v1        string // the number that clients of protocol v1 show; "" if the peer has none
	contact   inbox.Contact
}

// mayBeV1 reports whether a member may use a client of protocol v1: a peer of it lacks an
// ability of our clients, or no peer of it is connected.
func mayBeV1(rows []wire.PeerRow, member wire.Key) bool {
	ours := false
	for i := range rows {
		if rows[i].MemberPubkey == member {
			if !rows[i].SealedGroups {
				return true
			}
			ours = true
		}
	}
	return !ours
}

func (v *verification) text(confirmed bool) string {
	var b strings.Builder
	name := oneLine(v.name)
	fmt.Fprintf(&b, "Safety number of you (%s) and %s (member key %s):\n\n", oneLine(v.own), name, v.member.Short())
	b.WriteString(numberText(v.number) + "\n")
	if v.v1 != "" {
		fmt.Fprintf(&b, "If %s uses a client of protocol v1, it shows the v1 safety number instead, which has six groups:\n\n%s\n", name, numberText(v.v1))
	}
	if doubt := v.contact.Doubt(); doubt != "" {
		fmt.Fprintf(&b, "Careful: %s.\n", oneLine(doubt))
	}
	switch {
	case confirmed:
		fmt.Fprintf(&b, "Remembered: you have compared this number with %s, and it was the same.\n", name)
	case v.contact.Confirmed():
		fmt.Fprintf(&b, "You compared this number with %s on %s, and it was the same.\n", name, v.contact.ConfirmedAt.Local().Format(time.DateOnly))
	default:
		fmt.Fprintf(&b, `Ask %s to run `+"`claudemesh verify %s`"+`. Then read the number to each other, group by group, on
a call or in person; a message through the mesh proves nothing. If all twelve groups are
the same, run this command again with --confirm. If one differs, somebody may be reading
your messages: don't send this peer anything secret.
`, name, shellWord(v.own))
	}
	return b.String()
}

// shellWord quotes s for a shell, if necessary.
func shellWord(s string) string {
	s = oneLine(s)
	if strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789._-/") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
