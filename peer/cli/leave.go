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
		Long: `Leave a mesh, named by its slug or id. The broker removes your member and never accepts its key
again, the connections of your sessions end, and messages that wait for you are lost. To come back you
need a new invite. Your key is kept, so that you can still open old messages; see 'claudemesh keys'.
The owner can't leave a mesh.
If the broker is unreachable, nothing changes; use 'claudemesh forget' to take the mesh off this machine.`,
		Args:        cobra.ExactArgs(1),
		Annotations: exits(exitsDone, "1  refused or failed; standard error says whether you are still a member", exitsUsage, exitsBroken),
		RunE:        func(cmd *cobra.Command, args []string) error { return a.leave(cmd.Context(), args[0], yes) },
	}
	yesFlag(cmd, &yes)
	return cmd
}

// namedMesh returns the joined mesh that an argument names.
func (a *app) namedMesh(name string) (peer.Mesh, error) {
	if name == "" {
		return peer.Mesh{}, usagef("the name of the mesh is empty; see `claudemesh meshes`")
	}
	a.mesh = name
	return a.joined()
}

func (a *app) leave(ctx context.Context, name string, yes bool) error {
	m, err := a.namedMesh(name)
	if err != nil {
		return err
	}
	if err := a.agree(ctx, fmt.Sprintf("This removes you from %s on %s for good.", m.Slug, printable(m.BrokerURL)), yes); err != nil {
		return err
	}
	text := "You have left the mesh %s."
	switch err := a.tellLeave(ctx, m); {
	case isRemoved(err):
		text = "You were no longer a member of the mesh %s; it is removed from this machine."
	case err != nil:
		return err
	}
	kept, err := peer.Forget(context.WithoutCancel(ctx), a.dir, m.MeshID)
	if err != nil {
		return fmt.Errorf("you have left the mesh %s, but it is still in the config: %w; run `claudemesh forget %s` to remove it", m.Slug, err, m.ShortID())
	}
	if _, err := fmt.Fprintf(a.out, text+"\n", m.Slug); err != nil {
		return err
	}
	a.printKept(kept)
	return nil
}

// tellLeave makes the broker remove this member.
func (a *app) tellLeave(ctx context.Context, m peer.Mesh) error {
	w := a.waiting("connecting to the broker at " + oneLine(m.BrokerURL) + "; you are still a member, and Ctrl-C changes nothing")
	client, err := a.dial(ctx, a.visitor(m))
	w.done()
	if err != nil {
		if isRemoved(err) {
			return err
		}
		return fmt.Errorf("leave %s: %s. You are still a member, and nothing was changed; try again, or only take the mesh off this machine with `claudemesh forget %s`", m.Slug, explain(err), m.ShortID())
	}
	defer client.Close()
	members, err := client.ListMembers(ctx)
	own := m.Member.Public()
	if err == nil && slices.ContainsFunc(members, func(r wire.MemberRow) bool { return r.Pubkey == own && r.Role == "owner" }) {
		return fmt.Errorf("leave %s: you own this mesh, and the owner can't leave; nothing was changed. To take it off this machine, run `claudemesh forget %s`", m.Slug, m.ShortID())
	}
	err = client.Leave(ctx)
	var request *peer.RequestError
	switch {
	case err == nil || isRemoved(err):
		return err
	case errors.As(err, &request):
		return fmt.Errorf("leave %s: the broker refused it: %w. You are still a member, and nothing was changed", m.Slug, request)
	}
	return fmt.Errorf("leave %s: %s. You may or may not still be a member; run `claudemesh leave %s` again", m.Slug, explain(err), m.ShortID())
}

// isRemoved reports whether an error says that the broker no longer has this member.
func isRemoved(err error) bool {
	var hello *peer.HelloError
	var closed *peer.ClosedError
	return errors.As(err, &hello) && (hello.Code == wire.CodeRevoked || hello.Code == wire.CodeUnauthorized) ||
		errors.As(err, &closed) && closed.Code == wire.CloseBanned
}

func (a *app) renameCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rename <mesh> <slug>",
		Short: "Change the slug of a mesh on this machine",
		Example: `  claudemesh rename team old-team
  claudemesh rename 1e2f3a4b old-team    # by the id that 'claudemesh meshes' shows`,
		Long: `Give a mesh, named by its slug or id, another slug on this machine: the name that --mesh takes and
that your sessions use. The broker and the other members don't notice, and your own name in the mesh
stays the same. The keys of your sessions move along. End sessions that are live in the mesh first.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.rename(cmd.Context(), args[0], args[1]) },
	}
}

func (a *app) rename(ctx context.Context, name, slug string) error {
	if !wire.ValidSlug(slug) {
		return usagef(badSlug, slug)
	}
	m, err := a.namedMesh(name)
	if err != nil {
		return err
	}
	if m.Slug == slug {
		return fmt.Errorf("rename: the mesh already has the slug %s", slug)
	}
	// A live session could make another key under the old slug.
	live, err := liveSessions(ctx, a.dir)
	if err != nil {
		return fmt.Errorf("rename %s: ask the daemon which sessions are live: %w", m.Slug, err)
	}
	for id, s := range live {
		for _, in := range s.Meshes {
			if in.Slug == m.Slug {
				return fmt.Errorf("rename %s: the session %s is live in the mesh; end it first", m.Slug, shortSession(id))
			}
		}
	}
	// Copy before removing: each key is on disk at any moment, and a second run can continue
	// after a crash.
	store := a.sessionStore()
	sessions, err := store.Copy(m.Slug, slug)
	if err != nil {
		return fmt.Errorf("rename %s: %w; nothing was changed", m.Slug, err)
	}
	if err := peer.Rename(ctx, a.dir, m.MeshID, slug); err != nil {
		return err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(config.Meshes, func(other peer.Mesh) bool { return other.Slug == m.Slug }) { // else the other mesh needs the keys
		for _, id := range sessions {
			if err := store.Remove(m.Slug, id); err != nil {
				return err
			}
		}
	}
	_, err = fmt.Fprintf(a.out, "Renamed the mesh %s to %s on this machine.\n", m.Slug, slug)
	return err
}
