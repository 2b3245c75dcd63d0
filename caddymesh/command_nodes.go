package caddymesh

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/storage/postgres"
)

func nodesCommand() *cobra.Command {
	var from source
	cmd := &cobra.Command{
		Use:   "nodes [--config <file> [--adapter <name>] | --database <url>]",
		Short: "Shows which broker uses the Postgres database",
		Long: `
Shows which broker uses the Postgres database, and whether its lease is valid. A
broker renews its lease every second. When the lease has expired, the next broker
that waits for the database takes over.`,
		Example: `  caddy claudemesh nodes --config /etc/caddy/Caddyfile`,
		Args:    cobra.NoArgs,
	}
	from.flags(cmd)
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		return result(from.each(func(storage Storage) error {
			if _, ok := storage.(*SQLite); ok { // opening it would create the file
				return fmt.Errorf("%s has no nodes: its broker uses the lock of a file", storage)
			}
			return withStore(storage, func(store broker.Storage) error {
				shared, ok := store.(*postgres.Store)
				if !ok {
					return fmt.Errorf("%s has no nodes", storage)
				}
				nodes, err := shared.Nodes(context.Background())
				if err != nil {
					return err
				}
				return printNodes(cmd.OutOrStdout(), storage, nodes)
			})
		}))
	})
	return cmd
}

func printNodes(out io.Writer, storage Storage, nodes []postgres.Node) error {
	if len(nodes) == 0 {
		_, err := fmt.Fprintf(out, "%s: no broker uses it\n", storage)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tPROCESS\tSTARTED\tSCHEMA\tLEASE")
	for _, n := range nodes {
		lease := "valid"
		if !n.Live {
			lease = "expired"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\n", n.Host, n.PID, n.Started.UTC().Format(time.RFC3339), n.Schema, lease)
	}
	return table.Flush()
}
