package caddymesh

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/wire"
)

func rebalanceCommand() *cobra.Command {
	var from source
	var shown display
	cmd := &cobra.Command{
		Use:   "rebalance" + jsonUsage + serverUsage,
		Short: "Moves meshes from the nodes of a cluster that own many to those that own few",
		Long: `
Moves meshes from the nodes of a cluster that own many to those that own few, for example
after a node has joined, until no node owns more than 1.2 times the mean. The command
waits until the nodes have done it, and lists what moved. Clients connect again at once.
Nodes that drain are left alone. Nothing moves by itself while its node lives: a new mesh,
or one that nobody has used for ten minutes, goes to the node that owns the fewest.`,
		Example: `  caddy claudemesh rebalance --config /etc/caddy/Caddyfile`,
		Args:    cobra.NoArgs,
	}
	from.flags(cmd)
	shown.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := interruptible(cmd)
		defer stop()
		rows := []row{}
		err := from.eachShared(func(storage Storage, store *postgres.Store) error {
			moved, err := rebalance(ctx, store)
			for _, row := range moved {
				row["storage"] = storage.String()
			}
			rows = append(rows, moved...)
			return err
		})
		if err != nil {
			return err
		}
		if len(rows) == 0 && !shown.json {
			_, err := io.WriteString(cmd.OutOrStdout(), "The nodes are balanced: nothing moves.\n")
			return err
		}
		return shown.print(cmd.OutOrStdout(), rows, []string{"slug", "mesh", "from", "to"})
	}
	return cmd
}

// rebalance moves meshes and waits until the nodes have done it.
func rebalance(ctx context.Context, store *postgres.Store) ([]row, error) {
	nodes, err := store.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	holdings, err := store.Holdings(ctx)
	if err != nil {
		return nil, err
	}
	owned, slugs := make(map[int64][]wire.ID), make(map[wire.ID]string)
	for _, h := range holdings {
		owned[h.Node] = append(owned[h.Node], h.Mesh)
		slugs[h.Mesh] = h.Slug
	}
	moves := cluster.Balance(nodes, owned)
	rows := []row{}
	addresses := addressesOf(nodes)
	for _, m := range moves {
		rows = append(rows, row{"mesh": m.Mesh.String(), "slug": slugs[m.Mesh], "from": addresses[m.From], "to": addresses[m.To]})
	}
	if len(moves) == 0 {
		return rows, nil
	}
	if err := store.Move(ctx, moves); err != nil {
		return nil, err
	}
	for {
		left, err := store.Moving(ctx)
		if err != nil || left == 0 {
			return rows, err
		}
		if err := pauseFor(ctx, "the nodes go on moving the last "+howMany(int64(left), "mesh", "meshes")); err != nil {
			return nil, err
		}
	}
}

func addressesOf(nodes []cluster.Node) map[int64]string {
	addresses := make(map[int64]string)
	for _, n := range nodes {
		addresses[n.ID] = n.Address
	}
	return addresses
}
