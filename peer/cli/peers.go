package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) peersCommand() *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use: "peers", Short: "List who is in the mesh right now", Args: cobra.NoArgs,
		Long: `List the peers that are connected. With --all, also the members that are away:
what you send them waits for them.

--json: an array of {pubkey, memberPubkey, displayName, status, summary, groups,
sessionId, connectedAt, cwd, peerRole, online, visible, role} with hostname, peerType,
channel, model, stats and profile where known. A member that is away has status "away",
and its member key as pubkey.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, m, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			peers, err := client.ListPeers(cmd.Context())
			if err != nil {
				return err
			}
			if all {
				if peers, err = withAway(cmd.Context(), client, peers); err != nil {
					return err
				}
			}
			if asJSON {
				return a.printJSON(nonNil(peers))
			}
			return a.table(peerTable(peers, m.Member.Public()))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "members that are away too")
	return cmd
}

// away is the status of a member without a presence.
const away wire.Status = "away"

// withAway adds a row for every member that has none.
func withAway(ctx context.Context, client *peer.Client, peers []wire.PeerRow) ([]wire.PeerRow, error) {
	members, err := client.ListMembers(ctx)
	if err != nil {
		return nil, err
	}
	here := make(map[wire.Key]bool)
	for i := range peers {
		here[peers[i].MemberPubkey] = true
	}
	for i := range members {
		if m := &members[i]; !m.Removed && !here[m.Pubkey] {
			peers = append(peers, wire.PeerRow{
				Pubkey: m.Pubkey, MemberPubkey: m.Pubkey, DisplayName: m.DisplayName,
				Status: away, Groups: []wire.Group{}, Role: m.Role, Visible: true,
			})
		}
	}
	return peers, nil
}

func peerTable(peers []wire.PeerRow, own wire.Key) [][]string {
	rows := [][]string{{"NAME", "KEY", "STATUS", "WHERE", "GROUPS", "SUMMARY"}}
	for i := range peers {
		p := &peers[i]
		name, status, summary := p.DisplayName, string(p.Status), ""
		if p.MemberPubkey == own {
			name += " (you)"
		}
		if !p.Online && p.Status != away {
			status += ", reconnecting"
		}
		if !p.Visible {
			status += ", hidden"
		}
		if p.Summary != nil {
			summary = *p.Summary
		}
		where := p.Hostname
		if p.Channel != "" {
			where = strings.TrimPrefix(where+" "+p.Channel, " ")
		}
		groups := make([]string, len(p.Groups))
		for i, g := range p.Groups {
			groups[i] = "@" + g.Name
		}
		rows = append(rows, []string{name, p.Pubkey.Short(), status, where, strings.Join(groups, " "), summary})
	}
	return rows
}

func (a *app) membersCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "members", Short: "List the members of the mesh", Args: cobra.NoArgs,
		Long: `List the members of the mesh, connected or not.
--json: an array of {id, pubkey, displayName, role, joinedAt, removed}.`,
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
			if asJSON {
				return a.printJSON(nonNil(members))
			}
			rows := [][]string{{"NAME", "KEY", "ROLE", "JOINED"}}
			for i := range members {
				v := &members[i]
				name, role := v.DisplayName, v.Role
				if v.Pubkey == m.Member.Public() {
					name += " (you)"
				}
				if v.Removed {
					role = "removed"
				}
				rows = append(rows, []string{name, v.Pubkey.Short(), role, timeText(v.JoinedAt.Time, time.Now())})
			}
			return a.table(rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
