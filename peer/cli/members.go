package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) membersCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "members", Short: "List the members of the mesh", Args: cobra.NoArgs,
		Example: `  claudemesh members
  claudemesh members --json`,
		Long: `List the members of the mesh, connected or not, and what you allow each of them; see
'claudemesh grant' and 'claudemesh block'.
--json: an array of {id, pubkey, displayName, role, joinedAt, removed, banned?, granted?,
verified, compared, doubt?}. A member without granted may do everything; [] means blocked.

` + trustHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, m, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			members, err := client.ListMembers(cmd.Context())
			if err != nil {
				return err
			}
			trusted := a.trustMembers(cmd.Context(), m.MeshID, members)
			if asJSON {
				return a.printJSON(nonNil(trusted))
			}
			return a.table(memberTable(trusted, m.Member.Public(), time.Now()), "KEY")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// trustedMember is a member, with this machine's judgment of its key.
type trustedMember struct {
	wire.MemberRow
	Verified bool   `json:"verified"`
	Compared bool   `json:"compared"`
	Doubt    string `json:"doubt,omitempty"`
}

// trustMembers finds out which members are verified.
func (a *app) trustMembers(ctx context.Context, meshID string, members []wire.MemberRow) []trustedMember {
	rows := a.trust(ctx, meshID, withAway(nil, asPresent(members)), members)
	list := make([]trustedMember, len(members))
	for i := range members {
		list[i] = trustedMember{members[i], rows[i].Verified, rows[i].Compared, rows[i].Doubt}
	}
	return list
}

// asPresent returns a copy of the members in which none is removed.
func asPresent(members []wire.MemberRow) []wire.MemberRow {
	all := slices.Clone(members)
	for i := range all {
		all[i].Removed = false
	}
	return all
}

func memberTable(members []trustedMember, own wire.Key, now time.Time) [][]string {
	rows := [][]string{{"NAME", "KEY", "TRUST", "ROLE", "YOU ALLOW", "JOINED"}}
	for i := range members {
		v := &members[i]
		name, role, allowed := v.DisplayName, v.Role, grantText(v.Granted)
		if v.Pubkey == own {
			name += " (you)"
			allowed = ""
		}
		switch {
		case v.Banned:
			role = "banned"
		case v.Removed:
			role = "removed"
		}
		rows = append(rows, []string{name, v.Pubkey.Short(), trustText(v.Verified, v.Compared, v.Doubt), role, allowed, timeText(v.JoinedAt.Time, now)})
	}
	return rows
}

// withMember connects, finds the member, calls do, and prints done with the member's name.
func (a *app) withMember(ctx context.Context, name, done string, do func(context.Context, *peer.Client, wire.Key) error) error {
	client, m, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	members, err := client.ListMembers(ctx)
	if err != nil {
		return err
	}
	c, err := peer.ResolveMember(name, m.Member.Public(), members)
	if err != nil {
		return err
	}
	if err := do(ctx, client, c.Key); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, done+"\n", oneLine(c.Name))
	return err
}

func (a *app) removeCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove <member>", Short: "Remove a member from the mesh for good", Args: cobra.ExactArgs(1),
		Example: `  claudemesh remove bob
  claudemesh remove 3fa94b21 --mesh team -y    # by the start of the key, without a question`,
		Long: `Remove a member from the mesh. Its connections end, and the broker never accepts its key
again. The owner and admins can do this. The member keeps what it has received, including
the mesh key. To keep a member out for a while, see 'claudemesh ban'. The command asks for
confirmation.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withMember(cmd.Context(), args[0], "Removed %s.", func(ctx context.Context, c *peer.Client, k wire.Key) error {
				question := fmt.Sprintf("Remove %s (key %s) for good? The broker will never accept this key again.", oneLine(args[0]), k.Short())
				if err := a.agree(ctx, question, yes); err != nil {
					return err
				}
				return c.MemberRemove(ctx, k)
			})
		},
	}
	yesFlag(cmd, &yes)
	return cmd
}

func (a *app) roleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "role <member> <admin | member>", Short: "Change the role of a member", Args: cobra.ExactArgs(2),
		Example: `  claudemesh role bob admin
  claudemesh role bob member --mesh team`,
		Long: "Change the role of a member. Only the owner can. Admins invite and remove members, and read the audit log.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "admin" && args[1] != "member" {
				return usagef("the role must be admin or member, not %q", args[1])
			}
			return a.withMember(cmd.Context(), args[0], "%s is now "+map[string]string{"admin": "an admin", "member": "a plain member"}[args[1]]+".",
				func(ctx context.Context, c *peer.Client, k wire.Key) error { return c.MemberSetRole(ctx, k, args[1]) })
		},
	}
}
