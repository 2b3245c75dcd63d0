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

func (a *app) peersCommand() *cobra.Command {
	var asJSON, all, watch bool
	cmd := &cobra.Command{
		SuggestFor: []string{"list", "ls", "who"},
		Use:        "peers", Short: "List who is in the mesh right now", Args: cobra.NoArgs,
		Example: `  claudemesh peers
  claudemesh peers --all --mesh team
  claudemesh peers --watch > arrivals.log`,
		Long: `List the connected peers. --all also lists the members who are away; messages to them are
queued. --watch shows the peers until you press Ctrl-C: on a terminal as a table that stays
up to date, otherwise as a line for each peer that comes, goes or changes. With --json it
prints an array on one line after each change.

--json: an array of {pubkey, memberPubkey, displayName, status, summary, groups,
sessionId, connectedAt, cwd, peerRole, online, visible, role, verified, compared, doubt},
with hostname, peerType, channel, model, stats, profile, statusReason and cannotRead if
they are known. A member who is away has the status "away", and its member key as pubkey.

` + trustHelp,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchPeers(cmd.Context(), all, asJSON)
			}
			client, m, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			peers, members, err := client.Roster(cmd.Context())
			if err != nil {
				return err
			}
			if all {
				peers = withAway(peers, members)
			}
			trusted := a.trust(cmd.Context(), m.MeshID, peers, members)
			if asJSON {
				return a.printJSON(nonNil(trusted))
			}
			return a.table(peerTable(trusted, m.Member.Public()), "KEY")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "also list members who are away")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "keep watching, and show peers that come, go or change")
	return cmd
}

// away is the status of a member that has no connected peer.
const away wire.Status = "away"

// withAway adds a row for every member that has no connected peer.
func withAway(peers []wire.PeerRow, members []wire.MemberRow) []wire.PeerRow {
	here := make(map[wire.Key]bool)
	for i := range peers {
		here[peers[i].MemberPubkey] = true
	}
	for i := range members {
		if m := &members[i]; !m.Removed && !here[m.Pubkey] {
			peers = append(peers, wire.PeerRow{
				Pubkey: m.Pubkey, MemberPubkey: m.Pubkey, DisplayName: m.DisplayName,
				Status: away, Groups: []wire.Group{}, MemberRole: m.Role, Visible: true,
			})
		}
	}
	return peers
}

// trustHelp explains the column TRUST and its JSON fields.
const trustHelp = `TRUST is "proven" (JSON: verified) if the member vouches for the key, and no other member has
the same name or one that looks like it. It is "compared" if you have also compared the
member's key by voice; see 'claudemesh verify'. Otherwise it is NO, with the reason (doubt).`

// trustText is a cell of the column TRUST.
func trustText(verified, compared bool, doubt string) string {
	switch {
	case !verified:
		return "NO: " + doubt
	case compared:
		return "compared"
	}
	return "proven"
}

// trustedRow is a row of the roster, with this machine's judgment of its key.
type trustedRow struct {
	wire.PeerRow
	Verified bool   `json:"verified"`
	Compared bool   `json:"compared"`
	Doubt    string `json:"doubt,omitempty"`
}

// trust finds out which rows are verified. If it can't read the contacts, it warns.
func (a *app) trust(ctx context.Context, meshID string, peers []wire.PeerRow, members []wire.MemberRow) []trustedRow {
	rows, problem := a.judge(ctx, meshID, peers, members)
	if problem != "" {
		fmt.Fprintln(a.err, "warning:", problem)
	}
	return rows
}

// judge finds out which rows are verified. If it can't read the contacts, it checks only the keys,
// and returns the problem.
func (a *app) judge(ctx context.Context, meshID string, peers []wire.PeerRow, members []wire.MemberRow) (rows []trustedRow, problem string) {
	now := time.Now()
	known, err := a.compareNames(ctx, meshID, peers, members, now)
	if err != nil {
		problem = "can't check whether names lead to the same keys as before: " + printable(err.Error())
	}
	rows = make([]trustedRow, len(peers))
	for i := range peers {
		rows[i].PeerRow = peers[i]
		if err == nil {
			rows[i].Verified, rows[i].Compared, rows[i].Doubt = known[i].Verified, known[i].Compared, known[i].Doubt
		} else {
			rows[i].Verified, rows[i].Doubt = peer.VerifyRow(&peers[i], now)
		}
	}
	return rows, problem
}

// compareNames checks the names against the contacts. It pins the names of the members, not
// the names that their sessions choose.
func (a *app) compareNames(ctx context.Context, meshID string, peers []wire.PeerRow, members []wire.MemberRow, now time.Time) ([]inbox.RowTrust, error) {
	store, err := inbox.Open(ctx, a.dir)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	contacts := store.Contacts()
	if err := contacts.PinMembers(ctx, meshID, members, now); err != nil {
		return nil, err
	}
	return contacts.VerifyRows(ctx, meshID, peers, now)
}

// statusText is a cell of the column STATUS.
func statusText(p *wire.PeerRow) string {
	status := string(p.Status)
	if !p.Online && p.Status != away {
		status += ", reconnecting"
	}
	if !p.Visible {
		status += ", hidden"
	}
	return explained(status, p.StatusReason, p.CannotRead)
}

// explained adds to a status its reason, and why the session can't read messages, if there is any.
func explained(status, reason, cannotRead string) string {
	if reason != "" {
		status += " (" + reason + ")"
	}
	if cannotRead != "" {
		status += ", can't read messages (" + cannotRead + ")"
	}
	return status
}

func peerTable(peers []trustedRow, own wire.Key) [][]string {
	rows := [][]string{{"NAME", "KEY", "TRUST", "STATUS", "WHERE", "GROUPS", "SUMMARY"}}
	for i := range peers {
		p := &peers[i]
		name, summary := p.DisplayName, ""
		if p.MemberPubkey == own {
			name += " (you)"
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
		rows = append(rows, []string{name, p.Pubkey.Short(), trustText(p.Verified, p.Compared, p.Doubt), statusText(&p.PeerRow), where, strings.Join(groups, " "), summary})
	}
	return rows
}
