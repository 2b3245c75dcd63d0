package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// capabilities are what a member may let others do.
var capabilities = []string{"read", "dm", "broadcast", "state-read"}

// withMember connects, finds the member, and does something about it.
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

func (a *app) grantCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grant <member> <capabilities...>",
		Short: "Say what a member may do to you",
		Long: `Say what a member may do to you: any of read, dm, broadcast and state-read, separated by
commas or spaces, and nothing else from then on. Without a grant a member may do all of these.`,
		Example: "  claudemesh grant bob read,broadcast    # but no direct messages\n  claudemesh grant bob read,dm,broadcast,state-read",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			list := strings.FieldsFunc(strings.Join(args[1:], ","), func(r rune) bool { return r == ',' || r == ' ' })
			for _, c := range list {
				if !slices.Contains(capabilities, c) {
					return usagef("%q is no capability; there are %s", c, strings.Join(capabilities, ", "))
				}
			}
			if len(list) == 0 {
				return usagef("say which capabilities: %s; for none, see 'claudemesh block'", strings.Join(capabilities, ", "))
			}
			return a.withMember(cmd.Context(), args[0], "%s may do this to you: "+strings.Join(list, ", ")+"."+without(list),
				func(ctx context.Context, c *peer.Client, k wire.Key) error { return c.Grant(ctx, k, list) })
		},
	}
}

// without says which capabilities a grant takes away.
func without(granted []string) string {
	var rest []string
	for _, c := range capabilities {
		if !slices.Contains(granted, c) {
			rest = append(rest, c)
		}
	}
	if len(rest) == 0 {
		return ""
	}
	return " Not any more: " + strings.Join(rest, ", ") + "."
}

func (a *app) blockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "block <member>", Short: "Take no messages from a member", Args: cobra.ExactArgs(1),
		Example: `  claudemesh block bob
  claudemesh block 3fa94b21 --mesh team    # by the start of the key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withMember(cmd.Context(), args[0], "Blocked %s.",
				func(ctx context.Context, c *peer.Client, k wire.Key) error { return c.Grant(ctx, k, nil) })
		},
	}
}

func (a *app) unblockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unblock <member>", Short: "Take back block and grant", Args: cobra.ExactArgs(1),
		Example: `  claudemesh unblock bob
  claudemesh unblock 3fa94b21 --mesh team    # by the start of the key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withMember(cmd.Context(), args[0], "%s may send to you again.",
				func(ctx context.Context, c *peer.Client, k wire.Key) error { return c.GrantDefault(ctx, k) })
		},
	}
}

func (a *app) removeCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove <member>", Short: "Remove a member from the mesh for good", Args: cobra.ExactArgs(1),
		Example: `  claudemesh remove bob
  claudemesh remove 3fa94b21 --mesh team -y    # by the start of the key, without a question`,
		Long: `Remove a member from the mesh: its connections end and its key is never taken again. For
the owner and admins. What the member has received stays with it, the mesh key too.
To keep somebody out for a while, see 'claudemesh ban'. Asks first, in a terminal.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withMember(cmd.Context(), args[0], "Removed %s.", func(ctx context.Context, c *peer.Client, k wire.Key) error {
				question := fmt.Sprintf("Remove %s (key %s) for good? The key is never taken again.", oneLine(args[0]), k.Short())
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
		Long: "Change the role of a member; only the owner can. Admins invite and remove members and read the audit log.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "admin" && args[1] != "member" {
				return usagef("the role must be admin or member")
			}
			return a.withMember(cmd.Context(), args[0], "%s is "+map[string]string{"admin": "an admin", "member": "a plain member"}[args[1]]+" now.",
				func(ctx context.Context, c *peer.Client, k wire.Key) error { return c.MemberSetRole(ctx, k, args[1]) })
		},
	}
}
