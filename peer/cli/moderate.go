package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// whom describes the argument that names a peer or member.
const whom = `a display name, a key, or the first 8 or more digits of a key. The command
refuses a name that several members have.`

// reasonFlag adds --reason, and returns a function that checks it.
func reasonFlag(cmd *cobra.Command, reason *string) func() error {
	cmd.Flags().StringVar(reason, "reason", "", "one line that the member is shown")
	return func() error {
		if len(*reason) > wire.MaxModerationReason {
			return usagef("--reason is too long: %d bytes, at most %d are allowed", len(*reason), wire.MaxModerationReason)
		}
		return nil
	}
}

// connectAbout connects to the broker, unless several members there have the name.
func (a *app) connectAbout(ctx context.Context, name string) (*peer.Client, error) {
	client, _, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkAmbiguous(ctx, client, name); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

func (a *app) kickCommand() *cobra.Command {
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "kick <peer>", Short: "End the sessions of a peer; they may come back", Args: cobra.ExactArgs(1),
		Long: `End the sessions of a peer. The owner and admins can do this.
<peer> is ` + whom + `
The sessions may come back, and most clients do so by themselves; to keep a member out, see
'claudemesh ban'. Connections of daemons and commands are not ended.
--json: {kicked [name], skipped [name]}.`,
		Example: "  claudemesh kick bob\n  claudemesh kick bob --reason \"your loop floods us\"",
	}
	check := reasonFlag(cmd, &reason)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := check(); err != nil {
			return err
		}
		client, err := a.connectAbout(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer client.Close()
		answer, err := client.Kick(cmd.Context(), args[0], reason)
		if err != nil {
			return refusedFor("kick", args[0], "run `claudemesh peers` to see who is here", err)
		}
		if asJSON {
			err := a.printJSON(struct {
				Kicked  []string `json:"kicked"`
				Skipped []string `json:"skipped"`
			}{nonNil(answer.Kicked), nonNil(answer.SkippedControlPlane)})
			if err != nil || len(answer.Kicked) > 0 {
				return err
			}
		}
		if len(answer.Kicked) == 0 {
			return errors.New(nobodyKicked(args[0], len(answer.SkippedControlPlane)))
		}
		_, err = fmt.Fprintf(a.out, "Kicked %s.\n", names(shownNames(answer.Kicked)))
		return err
	}
	return cmd
}

// checkAmbiguous returns a *peer.AmbiguousError, which names the candidates, if target means
// several members. The broker checks everything else: it knows more.
func checkAmbiguous(ctx context.Context, client *peer.Client, target string) error {
	_, err := client.Resolve(ctx, target)
	return ifAmbiguous(err)
}

// ifAmbiguous returns err if it is or wraps a *peer.AmbiguousError, else nil.
func ifAmbiguous(err error) error {
	var several *peer.AmbiguousError
	if errors.As(err, &several) {
		return several
	}
	return nil
}

// refusedFor adds the operation and its target to a refusal by the broker. For not_found, it
// also adds what to do next. It returns other errors unchanged.
func refusedFor(what, target, next string, err error) error {
	var request *peer.RequestError
	switch {
	case !errors.As(err, &request), request.Code == wire.CodeUnknownType: // explain has a text for the latter
		return err
	case request.Code == wire.CodeNotFound:
		return fmt.Errorf("%s %q: %s; %s", what, oneLine(target), request.Error(), next)
	}
	return fmt.Errorf("%s %q: %s", what, oneLine(target), request.Error())
}

// checkAmbiguousBanned is checkAmbiguous for the banned members.
func checkAmbiguousBanned(ctx context.Context, client *peer.Client, m *peer.Mesh, target string) error {
	bans, err := client.Bans(ctx)
	if err != nil {
		return err
	}
	rows := make([]wire.MemberRow, len(bans))
	for i := range bans {
		rows[i] = wire.MemberRow{Pubkey: bans[i].Pubkey, DisplayName: bans[i].Name}
	}
	_, err = peer.ResolveMember(target, m.Member.Public(), rows)
	return ifAmbiguous(err)
}

// nobodyKicked says why kick has ended no session.
func nobodyKicked(target string, skipped int) string {
	if skipped > 0 {
		return fmt.Sprintf("kick %q: it has no session, only the connection of a daemon or command; to keep the member out, use `claudemesh ban`", oneLine(target))
	}
	return fmt.Sprintf("kick %q: no connected peer has this name; run `claudemesh peers` to see who is here", oneLine(target))
}

func shownNames(list []string) []string {
	shown := make([]string, len(list))
	for i := range list {
		shown[i] = oneLine(list[i])
	}
	return shown
}

// barred is what ban and unban print as JSON.
type barred struct {
	Name   string   `json:"name"`
	Pubkey wire.Key `json:"pubkey"`
}

func (a *app) banCommand() *cobra.Command {
	var reason string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "ban <member>", Short: "Keep a member out of the mesh until unban", Args: cobra.ExactArgs(1),
		Long: `Keep a member out of the mesh. Its connections end, and it can't come back until somebody runs
'claudemesh unban'. The owner and admins can ban members; only the owner can ban admins.
<member> is ` + whom + `
The member keeps what it has received, including the mesh key.
--json: {name, pubkey}.`,
		Example: "  claudemesh ban bob\n  claudemesh ban bob --reason \"until we have found the leak\"",
	}
	check := reasonFlag(cmd, &reason)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := check(); err != nil {
			return err
		}
		client, err := a.connectAbout(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer client.Close()
		answer, err := client.Ban(cmd.Context(), args[0], reason)
		if err != nil {
			return refusedFor("ban", args[0], "run `claudemesh members` to see the members", err)
		}
		if asJSON {
			return a.printJSON(barred{answer.Banned, answer.Pubkey})
		}
		_, err = fmt.Fprintf(a.out, "Banned %s. To undo this: claudemesh unban %s\n", oneLine(answer.Banned), shellWord(args[0]))
		return err
	}
	return cmd
}

func (a *app) unbanCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "unban <member>", Short: "Let a banned member in again", Args: cobra.ExactArgs(1),
		Example: `  claudemesh unban bob
  claudemesh unban 3fa94b21 --json    # by the start of the key`,
		Long: `Let a banned member in again, with its previous role. The owner and admins can do this.
<member> is ` + whom + `
See 'claudemesh bans'.
--json: {name, pubkey}.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, m, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			if err := checkAmbiguousBanned(cmd.Context(), client, &m, args[0]); err != nil {
				return err
			}
			answer, err := client.Unban(cmd.Context(), args[0])
			if err != nil {
				return refusedFor("unban", args[0], "run `claudemesh bans` to see the banned members", err)
			}
			if asJSON {
				return a.printJSON(barred{answer.Unbanned, answer.Pubkey})
			}
			_, err = fmt.Fprintf(a.out, "%s may come back.\n", oneLine(answer.Unbanned))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) bansCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "bans", Short: "List the banned members", Args: cobra.NoArgs,
		Example: `  claudemesh bans
  claudemesh bans --json`,
		Long: `List the banned members. Only the owner and admins can.
--json: an array of {name, pubkey, revokedAt, reason?}.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer client.Close()
			bans, err := client.Bans(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(nonNil(bans))
			}
			if len(bans) == 0 {
				fmt.Fprintln(a.err, "Nobody is banned.")
				return nil
			}
			rows := [][]string{{"NAME", "KEY", "SINCE", "REASON"}}
			for i := range bans {
				b := &bans[i]
				rows = append(rows, []string{b.Name, b.Pubkey.Short(), timeText(b.RevokedAt.Time, time.Now()), strings.TrimSpace(b.Reason)})
			}
			return a.table(rows, "KEY")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
