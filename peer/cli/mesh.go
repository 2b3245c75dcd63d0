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
		Long: `Create a mesh on the broker. You become its owner. The slug is the mesh's short
name: 1 to 64 characters from a-z, 0-9, dot, dash and underscore.`,
		Example: `  claudemesh create team --name "The build team" --display-name alice
  claudemesh create team --broker wss://mesh.example.org/ws`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !wire.ValidSlug(args[0]) {
				return usagef(badSlug, args[0])
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
	cmd.Flags().StringVar(&displayName, "display-name", "", "your name in the mesh (default your user name)")
	cmd.Flags().StringVar(&token, "token", os.Getenv("CLAUDEMESH_CREATE_TOKEN"),
		"secret that the broker requires to create a mesh; prefer CLAUDEMESH_CREATE_TOKEN, which ps doesn't show")
	cmd.Flags().Lookup("token").DefValue = "" // the help text must not show the secret
	return cmd
}

// badSlug is the error for text that isn't a slug.
const badSlug = "%q isn't a valid slug: use 1 to 64 characters from a-z, 0-9, '.', '-' and '_', and don't start with a dot"

func (a *app) create(ctx context.Context, slug, name, displayName, token string) error {
	broker := a.broker
	if url := os.Getenv("CLAUDEMESH_BROKER_URL"); broker == "" && url != "" {
		var err error
		if broker, err = peer.ParseBrokerURL(url); err != nil {
			return usagef("CLAUDEMESH_BROKER_URL: %w", err)
		}
	}
	if broker == "" {
		broker = defaultBroker
	}
	// Check this first: the broker must not create a mesh that can't be recorded here.
	if err := errors.Join(a.dir.Make(), a.repair()); err != nil {
		return err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return err
	}
	for i := range config.Meshes {
		if m := &config.Meshes[i]; m.Slug == slug {
			return fmt.Errorf("create %s: you already have a mesh with this slug, on %s; choose another slug, or take that mesh off this machine with `claudemesh forget %s`", slug, m.BrokerURL, m.ShortID())
		}
	}
	key, err := identity.Generate()
	if err != nil {
		return err
	}
	w := a.waiting("asking the broker at " + oneLine(broker) + " to create the mesh")
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
	_, err = fmt.Fprintf(a.out, "Created the mesh %s on %s. You are its owner, under the name %s.\nInvite somebody: %s\n",
		slug, printable(broker), oneLine(displayName), a.next("invite", m.MeshID))
	return err
}

func (a *app) joinCommand() *cobra.Command {
	var name string
	var anew bool
	cmd := &cobra.Command{
		Use:   "join <link | ->",
		Short: "Join a mesh with an invite link",
		Long: `Join a mesh with an invite link. Give the link as an argument in quotes, or use '-' to read
it from standard input. Links of protocol v1 (ic://join/...) work too.
If you have already joined the mesh, the command does nothing, and the invite stays unused.
With --as-new-member you become a second member, with a new key, and send and receive as
that member from now on. The old member stays in the mesh. The command keeps its key in a
file beside the config, and prints the name of the file.`,
		Example: `  claudemesh join 'https://mesh.example.org/i/3fa9...#k3Jx...' --name bob
  pbpaste | claudemesh join - --name bob`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := args[0]
			if text == "-" {
				line, err := bufio.NewReader(a.stdin(cmd.Context(), "Paste the link and press Enter; Ctrl-C cancels.")).ReadString('\n')
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
	cmd.Flags().StringVar(&name, "name", "", "your name in the mesh (default your user name)")
	cmd.Flags().BoolVar(&anew, "as-new-member", false, "join as a new member, with a new key, even if you have joined the mesh before")
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
	a.printKept(joined.Backup)
	if joined.AlreadyMember {
		_, err = fmt.Fprintf(a.out, "You are already a member of %s.\n", slug)
		return err
	}
	_, err = fmt.Fprintf(a.out, "Joined the mesh %s as %s.\nSee who is here:  %s\nRead messages:    %s\n",
		slug, oneLine(name), a.next("peers", joined.Mesh.MeshID), a.next("inbox --follow", joined.Mesh.MeshID))
	return err
}

// next returns a command line for a mesh that was just joined. It contains --mesh if there
// are other meshes.
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

// joinAs joins under a name. On a terminal it asks for another name as long as the broker
// refuses it. It returns the accepted name.
func (a *app) joinAs(ctx context.Context, join joinFunc, link peer.Link, name string) (peer.Joined, string, error) {
	for {
		w := a.waiting("asking the broker at " + oneLine(link.BrokerURL) + " to let you in")
		joined, err := join(ctx, a.dir, link, name, nil)
		w.done()
		var refused *peer.HTTPError
		if !a.terminal || !errors.As(err, &refused) || !refused.BadName() {
			return joined, strings.TrimSpace(name), err
		}
		fmt.Fprintf(a.err, "The broker refused the name: %s. The invite is still unused.\n", oneLine(refused.Message))
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
		Long: "List the meshes that you have joined. --mesh takes a slug or an id from this list.\n--json: an array of {slug, name, meshId, pubkey, brokerUrl, joinedAt}.",
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
		Use: "forget <mesh>", Short: "Take a mesh off this machine without leaving it", Args: cobra.ExactArgs(1),
		Long: `Take a mesh, named by its slug or id, off this machine, for example because it has removed
you. The command does not tell the broker: if you are a member, you stay one. To leave the
mesh, see 'claudemesh leave'. Your key is kept; 'claudemesh keys restore' brings it back.`,
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
			if _, err := fmt.Fprintf(a.out, "Removed the mesh %s from this machine.\n", m.Slug); err != nil {
				return err
			}
			a.printKept(kept)
			return nil
		},
	}
}
