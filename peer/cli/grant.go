package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// capabilities lists what a member can allow others.
var capabilities = []string{"read", "dm", "broadcast", "state-read"}

// grantText is a cell of the column YOU ALLOW.
func grantText(granted []string) string {
	switch {
	case granted == nil:
		return "all"
	case len(granted) == 0:
		return "blocked"
	}
	return strings.Join(granted, ", ")
}

func (a *app) grantCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "grant <member> <capabilities...>",
		Short: "Choose what a member may do to you",
		Long: `Choose what a member may do to you: any of read, dm, broadcast and state-read, separated by
commas or spaces. From then on the member may do nothing else. Without a grant, a member may
do all of these.`,
		Example: "  claudemesh grant bob read,broadcast    # no direct messages\n  claudemesh grant bob read,dm,broadcast,state-read",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			list := strings.FieldsFunc(strings.Join(args[1:], ","), func(r rune) bool { return r == ',' || r == ' ' })
			for _, c := range list {
				if !slices.Contains(capabilities, c) {
					return usagef("%q isn't a capability; choose from %s", c, strings.Join(capabilities, ", "))
				}
			}
			if len(list) == 0 {
				return usagef("no capability is given; choose from %s, or use `claudemesh block`", strings.Join(capabilities, ", "))
			}
			return a.withMember(cmd.Context(), args[0], "%s may now: "+strings.Join(list, ", ")+"."+without(list),
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
	return " No longer: " + strings.Join(rest, ", ") + "."
}

func (a *app) blockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "block <member>", Short: "Refuse all messages from a member", Args: cobra.ExactArgs(1),
		Long: "Refuse all messages from a member. To undo this, see 'claudemesh unblock'.",
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
		Use: "unblock <member>", Short: "Undo block and grant for a member", Args: cobra.ExactArgs(1),
		Long: "Undo 'claudemesh block' and 'claudemesh grant' for a member, who may then do everything again.",
		Example: `  claudemesh unblock bob
  claudemesh unblock 3fa94b21 --mesh team    # by the start of the key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withMember(cmd.Context(), args[0], "%s may send to you again.",
				func(ctx context.Context, c *peer.Client, k wire.Key) error { return c.GrantDefault(ctx, k) })
		},
	}
}
