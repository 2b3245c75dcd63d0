package caddymesh

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/postgres"
)

func nodesCommand() *cobra.Command {
	var from source
	cmd := &cobra.Command{
		Use:   "nodes [--config <file> [--adapter <name>] | --database <url>]",
		Short: "Shows which brokers use the Postgres database",
		Long: `
Shows which broker uses the Postgres database, or the nodes of a cluster, how
many meshes each node owns, and whether its lease is valid. A
broker renews its lease every second. When the lease has expired, the next broker
that waits for the database takes over.`,
		Example: `  caddy claudemesh nodes --config /etc/caddy/Caddyfile`,
		Args:    cobra.NoArgs,
	}
	from.flags(cmd)
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		return result(from.eachShared(func(storage Storage, store *postgres.Store) error {
			nodes, err := store.Nodes(context.Background())
			if err != nil {
				return err
			}
			return printNodes(cmd.OutOrStdout(), storage, nodes)
		}))
	})
	return cmd
}

// eachShared calls do once for every distinct storage, which must be a Postgres database.
func (s *source) eachShared(do func(Storage, *postgres.Store) error) error {
	return s.each(func(storage Storage) error {
		if _, ok := storage.(*SQLite); ok { // opening it would create the file
			return fmt.Errorf("%s has no nodes: its broker uses the lock of a file", storage)
		}
		return withStore(storage, func(store broker.Storage) error {
			shared, ok := store.(*postgres.Store)
			if !ok {
				return fmt.Errorf("%s has no nodes", storage)
			}
			return do(storage, shared)
		})
	})
}

func printNodes(out io.Writer, storage Storage, nodes []cluster.Node) error {
	if len(nodes) == 0 {
		_, err := fmt.Fprintf(out, "%s: no broker uses it\n", storage)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tPROCESS\tSTARTED\tSCHEMA\tLEASE\tADDRESS\tMESHES\tID")
	for _, n := range nodes {
		lease := "valid"
		if !n.Live {
			lease = "expired"
		}
		address, meshes := "-", "all" // it has the database alone
		if n.Address != "" {
			address, meshes = n.Address, strconv.Itoa(n.Meshes)
		}
		if n.Draining {
			meshes += ", drains"
		}
		if n.Elsewhere {
			meshes += ", its address leads elsewhere"
		}
		if n.ClockOff {
			meshes += ", its clock is " + cluster.Clock(n.ClockAhead)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\t%s\t%s\t%d\n", n.Host, n.PID, n.Started.UTC().Format(time.RFC3339), n.Schema, lease, address, meshes, n.ID)
	}
	return table.Flush()
}
