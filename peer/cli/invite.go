package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// inviteFlags are the flags of invite.
type inviteFlags struct {
	uses     int64
	expires  duration
	role     string
	groups   []string
	format   string
	json     bool
	qr, noQR bool
}

// invited is what invite --json prints.
type invited struct {
	Link      string    `json:"link"`
	InviteID  wire.ID   `json:"inviteId"`
	Role      string    `json:"role"`
	Uses      int64     `json:"uses"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (a *app) inviteCommand() *cobra.Command {
	f := inviteFlags{expires: duration(7 * 24 * time.Hour)}
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Make an invite link",
		Long: `Make an invite link and print it; on a terminal also as a QR code. Anybody who has the
link can join, so share it in private. The broker can't read the keys in it.
Clients of protocol v1 need a link of --format v1, which only the owner can make.
--json: {link, inviteId, role, uses, expiresAt}.`,
		Example: "  claudemesh invite\n  claudemesh invite --uses 5 --expires 2d --groups backend,oncall",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.uses < 1 {
				return usagef("--uses must be at least 1")
			}
			if f.role != "member" && f.role != "admin" {
				return usagef("--role must be member or admin, not %q", f.role)
			}
			if f.format != "link" && f.format != "v1" {
				return usagef("--format must be link or v1, not %q", f.format)
			}
			return a.invite(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.uses, "uses", 1, "how many people can join with the link")
	flags.Var(&f.expires, "expires", "how long the link is valid, e.g. 7d, 12h or 30m")
	flags.StringVar(&f.role, "role", "member", "role of the people who join: member or admin")
	flags.StringSliceVar(&f.groups, "groups", nil, "groups of the people who join, separated by commas")
	flags.StringVar(&f.format, "format", "link", "link, or v1 for clients of protocol v1")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.BoolVar(&f.qr, "qr", false, "print the QR code even if the output isn't a terminal")
	flags.BoolVar(&f.noQR, "no-qr", false, "don't print the QR code")
	return cmd
}

func (a *app) invite(ctx context.Context, f *inviteFlags) error {
	groups, err := groupNames(f.groups)
	if err != nil {
		return err
	}
	client, m, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	owner, err := findOwner(ctx, client)
	if err != nil {
		return err
	}
	terms := peer.InviteTerms{Role: f.role, Uses: f.uses, ExpiresAt: time.Now().Add(time.Duration(f.expires)), Groups: groups}
	var link peer.Link
	var create wire.InviteCreate
	if f.format == "v1" {
		if owner != m.Member.Public() {
			return fmt.Errorf("invite --format v1: only the owner of the mesh can make a link for protocol v1; ask the owner, or leave out --format")
		}
		link, create, err = peer.NewTokenInvite(&m, terms)
	} else {
		link, create, err = peer.NewLinkInvite(&m, owner, terms)
	}
	if err != nil {
		return err
	}
	id, err := client.InviteCreate(ctx, create)
	if err != nil {
		return err
	}
	return a.printInvite(f, isLoopback(m.BrokerURL), invited{link.URL(), id, f.role, f.uses, time.UnixMilli(create.ExpiresAt).UTC()})
}

// printInvite prints a link. A local link works on this machine only, so it gets no QR code.
func (a *app) printInvite(f *inviteFlags, local bool, i invited) error {
	if f.json {
		return a.printJSON(i)
	}
	if _, err := fmt.Fprintln(a.out, i.Link); err != nil {
		return err
	}
	if f.qr || a.terminal && !f.noQR && !local {
		qrterminal.GenerateHalfBlock(i.Link, qrterminal.L, a.out)
	}
	times := "once"
	if i.Uses > 1 {
		times = strconv.FormatInt(i.Uses, 10) + " times"
	}
	if local {
		fmt.Fprintln(a.err, `This link only works on this machine. To invite people on other machines, the broker needs an address
that they can reach, such as mesh.example.com: a site in its Caddyfile (in the one that comes with the
broker, CLAUDEMESH_SITE sets it), or a proxy or balancer in front. Put the address in the link:
  `+calledAs()+` invite --broker wss://mesh.example.com/ws`)
	}
	_, err := fmt.Fprintf(a.err, "Valid for joining %s as %s, until %s. Share it in private: anybody who has it can join.\n",
		times, i.Role, i.ExpiresAt.Local().Format("2006-01-02 15:04"))
	return err
}

func findOwner(ctx context.Context, client *peer.Client) (wire.Key, error) {
	members, err := client.ListMembers(ctx)
	if err != nil {
		return wire.Key{}, err
	}
	for i := range members {
		if members[i].Role == "owner" {
			return members[i].Pubkey, nil
		}
	}
	return wire.Key{}, fmt.Errorf("invite: the broker's list of members contains no owner; run `claudemesh members`")
}

func (a *app) invitesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "invites", Short: "List the invites of the mesh", Args: cobra.NoArgs,
		Example: `  claudemesh invites
  claudemesh invites --json`,
		Long: `List the invites of the mesh. Only the owner and admins can.
--json: an array of {id, kind, role, uses, used, expiresAt, revoked, createdBy}.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			invites, err := client.Invites(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(nonNil(invites))
			}
			return a.table(inviteTable(invites, time.Now()), "ID")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(&cobra.Command{
		Use: "revoke <id>", Short: "Make an invite unusable", Args: cobra.ExactArgs(1),
		Example: `  claudemesh invites revoke 019a3c5e7b1240d2a6f08c9d1e2f3a4b
  claudemesh invites revoke 019a3c5e7b1240d2a6f08c9d1e2f3a4b --mesh team`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := wire.ParseID(args[0])
			if err != nil {
				return usagef("%q isn't the id of an invite, which has 32 hex digits; run `claudemesh invites` to see them", args[0])
			}
			client, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.InviteRevoke(cmd.Context(), id); err != nil {
				return refusedFor("revoke invite", args[0], "run `claudemesh invites` to see them", err)
			}
			_, err = fmt.Fprintln(a.out, "Revoked the invite.")
			return err
		},
	})
	return cmd
}

func inviteTable(invites []wire.InviteRow, now time.Time) [][]string {
	rows := [][]string{{"ID", "KIND", "ROLE", "USED", "STATE"}}
	for i := range invites {
		v := &invites[i]
		state := "valid until " + timeText(v.ExpiresAt.Time, now)
		switch {
		case v.Revoked:
			state = "revoked"
		case !v.ExpiresAt.After(now):
			state = "expired"
		case v.Used >= v.Uses:
			state = "used up"
		}
		rows = append(rows, []string{v.ID.String(), v.Kind, v.Role, fmt.Sprintf("%d of %d", v.Used, v.Uses), state})
	}
	return rows
}

// nonNil replaces nil by an empty list, which JSON shows as [].
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
