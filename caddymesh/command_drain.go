package caddymesh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/postgres"
)

// lookAgain is the pause between looks at what nodes have done of what they were asked.
const lookAgain = 200 * time.Millisecond

func drainCommand() *cobra.Command {
	var from source
	var name string
	var undo bool
	var shown display
	cmd := &cobra.Command{
		Use:   "drain [--node <id|address>] [--undo]" + jsonUsage + serverUsage,
		Short: "Makes a node of a cluster hand all of its meshes over to other nodes",
		Long: `
Makes a node of a cluster hand all of its meshes over to other nodes, for example before
the node is upgraded. The command waits until that has happened. Clients connect again at
once. The node takes no new meshes and is not ready at /health/ready, until it stops or
until drain --undo. It goes on relaying the connections that it has.

Without --node, the node is the one on this host. The command writes to the database, so
it may run on any machine that reaches the database.`,
		Example: `  caddy claudemesh drain --config /etc/caddy/Caddyfile
  caddy claudemesh drain --node 10.0.0.2:7901 --database '{env.DATABASE_URL}'`,
		Args: cobra.NoArgs,
	}
	from.flags(cmd)
	shown.flags(cmd)
	cmd.Flags().StringVar(&name, "node", "", "The id or the address of the node, as caddy claudemesh nodes shows them")
	cmd.Flags().BoolVar(&undo, "undo", false, "Let the node take meshes again")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := interruptible(cmd)
		defer stop()
		begin := func(text string) {
			if !shown.json {
				fmt.Fprintln(cmd.OutOrStdout(), text)
			}
		}
		return shown.each(cmd, &from, func(storage Storage) (line string, told row, err error) {
			err = withShared(storage, func(store *postgres.Store) error {
				line, told, err = drain(ctx, begin, store, name, undo)
				return err
			})
			return line, told, err
		})
	}
	return cmd
}

// drain makes a node hand its meshes over, or take meshes again, and says what has happened. It
// calls begin when the node has been asked.
func drain(ctx context.Context, begin func(text string), store *postgres.Store, name string, undo bool) (string, row, error) {
	nodes, err := store.Nodes(ctx)
	if err != nil {
		return "", nil, err
	}
	n, err := pickNode(nodes, name)
	if err != nil {
		return "", nil, err
	}
	told := row{"id": strconv.FormatInt(n.ID, 10), "address": n.Address, "draining": !undo}
	if undo {
		err := store.SetDraining(ctx, n.ID, false)
		return fmt.Sprintf("The node at %s takes meshes again.", n.Address), told, err
	}
	if err := store.SetDraining(ctx, n.ID, true); errors.Is(err, postgres.ErrNoTaker) {
		return "", nil, fmt.Errorf("no other node would take the meshes of the node at %s: start another one first", n.Address)
	} else if err != nil {
		return "", nil, err
	}
	begin(fmt.Sprintf("The node at %s hands over %s.", n.Address, howMany(int64(n.Meshes), "mesh", "meshes")))
	live, err := awaitDrained(ctx, store, n)
	told["handed_over"], told["live"] = n.Meshes, live
	if !live {
		return "The node has stopped.", told, err
	}
	return "It has no meshes left, and takes none until it is restarted or until `caddy claudemesh drain --undo`.", told, err
}

// awaitDrained waits until a node has no mesh, and reports whether it still runs.
func awaitDrained(ctx context.Context, store *postgres.Store, n cluster.Node) (live bool, err error) {
	for {
		nodes, err := store.Nodes(ctx)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(nodes, func(other cluster.Node) bool { return other.ID == n.ID })
		switch {
		case i < 0:
			return false, nil
		case !nodes[i].Draining:
			return true, errors.New("somebody has let the node take meshes again meanwhile")
		case nodes[i].Meshes == 0:
			return true, nil
		}
		if err := pauseFor(ctx, "the node goes on handing over the last "+howMany(int64(nodes[i].Meshes), "mesh", "meshes")); err != nil {
			return true, err
		}
	}
}

// pauseFor waits before the next look. If the command is interrupted, the error says what goes
// on without it.
func pauseFor(ctx context.Context, otherwise string) error {
	select {
	case <-time.After(lookAgain):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %s", otherwise)
	}
}

// pickNode returns the live node that has an id or an address, or the only one on this host.
func pickNode(nodes []cluster.Node, name string) (cluster.Node, error) {
	host, err := os.Hostname()
	if err != nil && name == "" {
		return cluster.Node{}, fmt.Errorf("find the node on this host: %w; name it with --node", err)
	}
	var all []string
	var found []cluster.Node
	for _, n := range nodes {
		if !n.Live || n.Address == "" {
			continue
		}
		all = append(all, n.Address)
		if n.Address == name || strconv.FormatInt(n.ID, 10) == name || name == "" && n.Host == host {
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(all) == 0:
		return cluster.Node{}, errors.New("the database has no nodes of a cluster")
	case name != "":
		return cluster.Node{}, fmt.Errorf("no node has the id or address %q; there are %s", name, strings.Join(all, ", "))
	}
	return cluster.Node{}, fmt.Errorf("%d nodes run on this host, %s; name one with --node: %s", len(found), host, strings.Join(all, ", "))
}
