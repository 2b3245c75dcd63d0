package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) createCommand() *cobra.Command {
	var name, displayName, token string
	cmd := &cobra.Command{
		Use:   "create <slug>",
		Short: "Create a mesh that you own",
		Long: `Create a mesh on the broker; you are its owner. The slug is the mesh's short
name: 1 to 64 of a-z, 0-9, dot, dash and underscore.`,
		Example: `  claudemesh create team --name "The build team" --display-name alice
  claudemesh create team --broker wss://mesh.example.org/ws`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !wire.ValidSlug(args[0]) {
				return usagef("%q can't be a slug: use 1 to 64 of a-z, 0-9, '.', '-' and '_', with no dot at the start", args[0])
			}
			if name == "" {
				name = args[0]
			}
			if displayName == "" {
				displayName = userName()
			}
			displayName, err := peer.CheckName(displayName)
			var bad *peer.HTTPError
			if errors.As(err, &bad) {
				return usagef("--display-name: %s", bad.Message)
			}
			return a.create(cmd.Context(), args[0], name, displayName, token)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the mesh for people (default the slug)")
	cmd.Flags().StringVar(&displayName, "display-name", "", "what the others see you as (default your user name)")
	cmd.Flags().StringVar(&token, "token", os.Getenv("CLAUDEMESH_CREATE_TOKEN"),
		"secret that this broker asks for to create meshes; better in CLAUDEMESH_CREATE_TOKEN, where ps does not show it")
	cmd.Flags().Lookup("token").DefValue = "" // help must not show it either
	return cmd
}

func (a *app) create(ctx context.Context, slug, name, displayName, token string) error {
	broker := a.broker
	if broker == "" {
		broker = os.Getenv("CLAUDEMESH_BROKER_URL")
	}
	if broker == "" {
		broker = DefaultBroker
	}
	// Before the broker hears of a mesh that could not be recorded.
	if err := errors.Join(a.dir.Make(), a.repair()); err != nil {
		return err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return err
	}
	for i := range config.Meshes {
		if m := &config.Meshes[i]; m.Slug == slug {
			return fmt.Errorf("you have a mesh called %s already, on %s; choose another slug, or let go of that one with `claudemesh forget %s`", slug, m.BrokerURL, m.ShortID())
		}
	}
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	w := a.waiting("asking the broker at " + oneLine(broker) + " for a mesh")
	created, err := peer.HTTP{BrokerURL: broker}.CreateMesh(ctx, key, slug, name, displayName, token, time.Now())
	w.done()
	if err != nil {
		return err
	}
	m := peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: slug, Name: name,
		Member: key, BrokerURL: broker, JoinedAt: time.Now(), Key: envelope.NewMeshKey(),
	}
	if err := peer.UpdateConfig(ctx, a.dir, func(c *peer.Config) error { c.Put(m); return nil }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "Created the mesh %s on %s. You are its owner, as %s.\nInvite somebody: %s\n",
		slug, printable(broker), oneLine(displayName), a.next("invite", m.MeshID))
	return err
}

func (a *app) joinCommand() *cobra.Command {
	var name string
	var anew bool
	cmd := &cobra.Command{
		Use:   "join <link | ->",
		Short: "Join a mesh with an invite link",
		Long: `Join a mesh with an invite link, given as an argument in quotes, or on standard
input with '-'. Links of protocol v1 (ic://join/...) work too.
A mesh that you have joined is not joined again, and the invite is not used. With
--as-new-member you become a second member of it, with a new key, as which you send and
receive from now on. The member that you were stays in the mesh; its key is kept in a file
beside the config, whose name is printed.`,
		Example: `  claudemesh join 'https://mesh.example.org/i/3fa9...#k3Jx...' --name bob
  pbpaste | claudemesh join - --name bob`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := args[0]
			if text == "-" {
				line, err := bufio.NewReader(a.in).ReadString('\n')
				if text = strings.TrimSpace(line); text == "" {
					return fmt.Errorf("read the link from standard input: %w", err)
				}
			}
			if name == "" {
				name = userName()
			}
			return a.join(cmd.Context(), text, name, anew)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the others see you as (default your user name)")
	cmd.Flags().BoolVar(&anew, "as-new-member", false, "join a mesh that you have joined again, with a new key")
	return cmd
}

func (a *app) join(ctx context.Context, text, name string, anew bool) error {
	link, err := peer.ParseLink(text)
	if err != nil {
		return usageError{err}
	}
	if a.broker != "" {
		link.BrokerURL = a.broker
	}
	if link.Expired(time.Now()) {
		return &peer.HTTPError{Code: "invite_expired"}
	}
	if err := a.repair(); err != nil {
		return err
	}
	join := peer.Join
	if anew {
		join = peer.JoinAnew
	}
	joined, name, err := a.joinAs(ctx, join, link, name)
	if err != nil {
		return err
	}
	slug := oneLine(joined.Mesh.Slug)
	a.sayKept(joined.Backup)
	if joined.AlreadyMember {
		_, err = fmt.Fprintf(a.out, "You are a member of %s already.\n", slug)
		return err
	}
	_, err = fmt.Fprintf(a.out, "Joined the mesh %s as %s.\nSee who is there: %s\nRead what comes:  %s\n",
		slug, oneLine(name), a.next("peers", joined.Mesh.MeshID), a.next("inbox --follow", joined.Mesh.MeshID))
	return err
}

// next is a command for a mesh that was just joined, which is named if there are others.
func (a *app) next(verb, meshID string) string {
	command := calledAs() + " " + verb
	config, err := peer.LoadConfig(a.dir)
	if err != nil || len(config.Meshes) < 2 {
		return command
	}
	for i, name := range config.Names() {
		if config.Meshes[i].MeshID == meshID {
			return command + " --mesh " + shellWord(name)
		}
	}
	return command
}

// joinFunc is peer.Join or peer.JoinAnew.
type joinFunc func(context.Context, peer.Dir, peer.Link, string, *http.Client) (peer.Joined, error)

// joinAs joins under a name, and asks for another on a terminal while the name is
// refused. It returns the one that was taken.
func (a *app) joinAs(ctx context.Context, join joinFunc, link peer.Link, name string) (peer.Joined, string, error) {
	for {
		w := a.waiting("asking the broker at " + oneLine(link.BrokerURL) + " to let you in")
		joined, err := join(ctx, a.dir, link, name, nil)
		w.done()
		var refused *peer.HTTPError
		if !a.terminal || !errors.As(err, &refused) || !refused.BadName() {
			return joined, strings.TrimSpace(name), err
		}
		fmt.Fprintf(a.err, "The invite is not used: %s.\n", oneLine(refused.Message))
		if name, err = (&form{ctx, a.in, a.out}).text("Another name", ""); err != nil {
			return joined, name, err
		}
	}
}

// meshRow is a row of meshes --json.
type meshRow struct {
	Slug      string    `json:"slug"`
	Name      string    `json:"name"`
	MeshID    string    `json:"meshId"`
	Pubkey    string    `json:"pubkey"`
	BrokerURL string    `json:"brokerUrl"`
	JoinedAt  time.Time `json:"joinedAt"`
}

func (a *app) meshesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		SuggestFor: []string{"list", "ls"},
		Use:        "meshes", Short: "List the meshes that you have joined", Args: cobra.NoArgs,
		Example: `  claudemesh meshes
  claudemesh meshes --json`,
		Long: "List the meshes that you have joined. --mesh takes a slug or an id of the list. --json: an array of {slug, name, meshId, pubkey, brokerUrl, joinedAt}.",
		RunE: func(*cobra.Command, []string) error {
			config, err := peer.LoadConfig(a.dir)
			if err != nil {
				return err
			}
			list := []meshRow{}
			rows := [][]string{{"MESH", "ID", "BROKER", "YOUR KEY", "JOINED"}}
			for i := range config.Meshes {
				m := &config.Meshes[i]
				list = append(list, meshRow{m.Slug, m.Name, m.MeshID, m.Member.Public().String(), m.BrokerURL, m.JoinedAt})
				rows = append(rows, []string{m.Slug, m.ShortID(), m.BrokerURL, m.Member.Public().Short(), timeText(m.JoinedAt, time.Now())})
			}
			if asJSON {
				return a.printJSON(list)
			}
			return a.table(rows, "MESH", "ID", "YOUR KEY")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "forget <mesh>", Short: "Take a mesh off this machine, and tell nobody", Args: cobra.ExactArgs(1),
		Long: `Take a mesh, named by its slug or id, out of those that you have joined on this machine,
for example one that has removed you. The broker is not told: you stay a member if you are
one; to end that, see 'claudemesh leave'. Your key is kept: 'claudemesh keys' brings it back.`,
		Example: "  claudemesh forget team\n  claudemesh forget 1e2f3a4b    # by the id that 'claudemesh meshes' shows",
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.namedMesh(args[0])
			if err != nil {
				return err
			}
			kept, err := peer.Forget(cmd.Context(), a.dir, m.MeshID)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(a.out, "The mesh %s is forgotten on this machine.\n", m.Slug); err != nil {
				return err
			}
			a.sayKept(kept)
			return nil
		},
	}
}
