package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) leaveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "leave <mesh>",
		Short: "Leave a mesh for good, and tell its broker",
		Example: `  claudemesh leave team
  claudemesh leave 1e2f3a4b --yes    # by the id that 'claudemesh meshes' shows`,
		Long: `Leave a mesh, named by its slug or id: the broker removes your member and never takes its key
again, the connections of your sessions end, and what waits for you is given up. To come back you need
a new invite. Your key is kept, as 'claudemesh keys' shows, for what you may want to open with it.
The owner can't leave a mesh.
If the broker can't be reached, nothing is changed; 'claudemesh forget' only takes the mesh off this machine.`,
		Args:        cobra.ExactArgs(1),
		Annotations: exits(exitsDone, "1  refused or failed; standard error says whether you are a member still", exitsUsage),
		RunE:        func(cmd *cobra.Command, args []string) error { return a.leave(cmd.Context(), args[0], yes) },
	}
	yesFlag(cmd, &yes)
	return cmd
}

// namedMesh returns the joined mesh that an argument names.
func (a *app) namedMesh(name string) (peer.Mesh, error) {
	if name == "" {
		return peer.Mesh{}, usagef("name the mesh")
	}
	a.mesh = name
	return a.joined()
}

func (a *app) leave(ctx context.Context, name string, yes bool) error {
	m, err := a.namedMesh(name)
	if err != nil {
		return err
	}
	if err := a.agree(ctx, fmt.Sprintf("You will be removed from %s on %s for good.", m.Slug, printable(m.BrokerURL)), yes); err != nil {
		return err
	}
	text := "You have left the mesh %s."
	switch err := a.tellLeave(ctx, m); {
	case isRemoved(err):
		text = "You were no member of the mesh %s any more; it is forgotten."
	case err != nil:
		return err
	}
	kept, err := peer.Forget(context.WithoutCancel(ctx), a.dir, m.MeshID)
	if err != nil {
		return fmt.Errorf("you have left the mesh %s, but it is still in the config; `claudemesh forget %s` takes it out: %w", m.Slug, m.ShortID(), err)
	}
	if _, err := fmt.Fprintf(a.out, text+"\n", m.Slug); err != nil {
		return err
	}
	a.sayKept(kept)
	return nil
}

// tellLeave has the broker remove the member that we are.
func (a *app) tellLeave(ctx context.Context, m peer.Mesh) error {
	client, err := a.dial(ctx, a.visitor(m))
	if err != nil {
		if isRemoved(err) {
			return err
		}
		return fmt.Errorf("%s. You are still a member of %s, and nothing is changed; try again, or take the mesh off this machine only with `claudemesh forget %s`", explain(err), m.Slug, m.ShortID())
	}
	defer client.Close()
	members, err := client.ListMembers(ctx)
	own := m.Member.Public()
	if err == nil && slices.ContainsFunc(members, func(r wire.MemberRow) bool { return r.Pubkey == own && r.Role == "owner" }) {
		return fmt.Errorf("you own the mesh %s, and a mesh always has its owner: nothing is changed. `claudemesh forget %s` takes it off this machine", m.Slug, m.ShortID())
	}
	err = client.Leave(ctx)
	var request *peer.RequestError
	switch {
	case err == nil || isRemoved(err):
		return err
	case errors.As(err, &request):
		return fmt.Errorf("the broker refused it: %w. You are still a member of %s, and nothing is changed", request, m.Slug)
	}
	return fmt.Errorf("%s. Whether you are still a member of %s is not known: run `claudemesh leave %s` again", explain(err), m.Slug, m.ShortID())
}

// isRemoved reports whether an error says that we are no member any more.
func isRemoved(err error) bool {
	var hello *peer.HelloError
	var closed *peer.ClosedError
	return errors.As(err, &hello) && (hello.Code == wire.CodeRevoked || hello.Code == wire.CodeUnauthorized) ||
		errors.As(err, &closed) && closed.Code == wire.CloseBanned
}

func (a *app) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rename <mesh> <slug>",
		Short: "Call a mesh something else on this machine",
		Example: `  claudemesh rename team old-team
  claudemesh rename 1e2f3a4b old-team    # by the id that 'claudemesh meshes' shows`,
		Long: `Give a mesh, named by its slug or id, another slug on this machine: what --mesh takes, and what
your sessions call it. The others and the broker hear nothing of it, and your own name in the mesh stays:
that was chosen when you joined. The keys of your sessions go along; end those that are live in the mesh first.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.rename(cmd.Context(), args[0], args[1]) },
	}
}

func (a *app) rename(ctx context.Context, name, slug string) error {
	if !wire.ValidSlug(slug) {
		return usagef("%q can't be a slug: use 1 to 64 of a-z, 0-9, '.', '-' and '_', with no dot at the start", slug)
	}
	m, err := a.namedMesh(name)
	if err != nil {
		return err
	}
	if m.Slug == slug {
		return fmt.Errorf("the mesh is called %s already", slug)
	}
	// Nobody must make a session key under the old slug meanwhile.
	live, err := liveSessions(ctx, a.dir)
	if err != nil {
		return fmt.Errorf("ask the daemon which sessions are live: %w", err)
	}
	for id, s := range live {
		for _, in := range s.Meshes {
			if in.Slug == m.Slug {
				return fmt.Errorf("the session %s is live in the mesh; end it first", id[:minSessionPrefix])
			}
		}
	}
	// Each key is on disk at any moment, and a second try goes on where this one ends.
	store := a.sessionStore()
	sessions, err := store.Copy(m.Slug, slug)
	if err != nil {
		return fmt.Errorf("nothing is renamed: %w", err)
	}
	if err := peer.Rename(ctx, a.dir, m.MeshID, slug); err != nil {
		return err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return err
	}
	if _, err := config.Find(m.Slug); err != nil { // else another mesh has the folder, too
		for _, id := range sessions {
			if err := store.Remove(m.Slug, id); err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintf(a.out, "The mesh %s is called %s on this machine from now on.\n", m.Slug, slug)
	return err
}
