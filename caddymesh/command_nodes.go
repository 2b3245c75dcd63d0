package caddymesh

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/visible"
)

func nodesCommand() *cobra.Command {
	var from source
	var shown display
	cmd := &cobra.Command{
		Use:   "nodes" + watchUsage + serverUsage,
		Short: "Shows which brokers use the Postgres database",
		Long: `
Shows which broker uses the Postgres database, or the nodes of a cluster, how many meshes
each node owns, and whether its lease is valid. A broker renews its lease every second.
When the lease has expired, the next broker that waits for the database takes over.
A broker that waits is listed with the reason: another one has the database or its
address, or is too old for the schema. If it dies, it stays listed for ten seconds.`,
		Example: `  caddy claudemesh nodes --config /etc/caddy/Caddyfile
  caddy claudemesh nodes --watch --database '{env.DATABASE_URL}'`,
		Args: cobra.NoArgs,
	}
	from.flags(cmd)
	shown.watches(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return shown.repeat(cmd, func(ctx context.Context, w io.Writer) error {
			rows := []nodeRow{}
			err := from.eachShared(func(storage Storage, store *postgres.Store) error {
				nodes, err := store.Nodes(ctx)
				if err != nil {
					return err
				}
				candidates, err := store.Candidates(ctx)
				if err != nil {
					return err
				}
				if !shown.json {
					return printNodes(w, storage, nodes, candidates)
				}
				rows = append(rows, nodeRows(storage, nodes, candidates)...)
				return nil
			})
			if err != nil || !shown.json {
				return err
			}
			return json.NewEncoder(w).Encode(rows)
		})
	}
	return cmd
}

// nodeRow is a node, or a broker that waits, as --json prints it.
type nodeRow struct {
	Storage   string    `json:"storage"`
	ID        int64     `json:"id,string"`
	Host      string    `json:"host"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Version   string    `json:"version"`
	Schema    int       `json:"schema"` // the newest that it knows
	Live      bool      `json:"live"`   // its lease is valid
	Address   string    `json:"address,omitempty"`
	Meshes    *int      `json:"meshes"` // null: it has the database alone, and so all meshes
	Draining  bool      `json:"draining"`
	Elsewhere bool      `json:"elsewhere"`           // its address leads to something else, or to nothing, or is unproven
	Clock     float64   `json:"clock_seconds_ahead"` // of the database's; 0 unless that matters
	Waits     string    `json:"waits,omitempty"`     // why it is not a node yet
}

func nodeRows(storage Storage, nodes []cluster.Node, candidates []postgres.Candidate) []nodeRow {
	var rows []nodeRow
	for i := range nodes {
		rows = append(rows, newNodeRow(storage, &nodes[i]))
	}
	for i := range candidates {
		row := newNodeRow(storage, &candidates[i].Node)
		row.Meshes, row.Waits = &candidates[i].Meshes, candidates[i].Reason
		rows = append(rows, row)
	}
	return rows
}

func newNodeRow(storage Storage, n *cluster.Node) nodeRow {
	row := nodeRow{
		Storage: storage.String(), ID: n.ID, Host: n.Host, PID: n.PID, Started: n.Started.UTC(), Version: n.Version, Schema: n.Schema, Live: n.Live,
		Address: n.Address, Draining: n.Draining, Elsewhere: n.Elsewhere,
	}
	if n.Address != "" {
		row.Meshes = &n.Meshes
	}
	if n.ClockOff {
		row.Clock = n.ClockAhead.Seconds()
	}
	return row
}

// eachShared calls do once for every distinct storage, which must be a Postgres database.
func (s *source) eachShared(do func(Storage, *postgres.Store) error) error {
	return s.each(func(storage Storage) error {
		return withShared(storage, func(store *postgres.Store) error { return do(storage, store) })
	})
}

// withShared is withStore for a Postgres database.
func withShared(storage Storage, use func(*postgres.Store) error) error {
	if _, ok := storage.(*SQLite); ok { // opening it would create the file
		return fmt.Errorf("%s has no nodes, because one broker at a time uses it; name a Postgres database with --config or --database", storage)
	}
	return withStore(storage, func(store broker.Storage) error {
		shared, ok := store.(*postgres.Store)
		if !ok {
			return fmt.Errorf("%s has no nodes", storage)
		}
		return use(shared)
	})
}

func printNodes(out io.Writer, storage Storage, nodes []cluster.Node, candidates []postgres.Candidate) error {
	if len(nodes)+len(candidates) == 0 {
		_, err := fmt.Fprintf(out, "%s: no broker uses it\n", storage)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tPROCESS\tSTARTED\tVERSION\tSCHEMA\tLEASE\tADDRESS\tMESHES\tID")
	line := func(n cluster.Node, lease, meshes string) {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\t%s\t%s\t%s\t%d\n", n.Host, n.PID, n.Started.UTC().Format(time.RFC3339),
			cmp.Or(visible.Line(n.Version, visible.People), "-"), n.Schema, lease, cmp.Or(n.Address, "-"), meshes, n.ID)
	}
	for _, n := range nodes {
		lease := "valid"
		if !n.Live {
			lease = "expired"
		}
		line(n, lease, meshesOf(n))
	}
	for _, c := range candidates {
		line(c.Node, "waits", "0")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range candidates {
		if _, err := fmt.Fprintf(out, "\nProcess %d on host %s waits: %s\n", c.PID, c.Host, visible.Line(c.Reason, visible.People)); err != nil {
			return err
		}
	}
	return nil
}

// meshesOf says how many meshes a node owns, and why it gets no more.
func meshesOf(n cluster.Node) string {
	meshes := "all" // it has the database alone
	if n.Address != "" {
		meshes = strconv.Itoa(n.Meshes)
	}
	if n.Draining {
		meshes += ", drains"
	}
	if n.Elsewhere {
		meshes += ", no other node reaches it at its address"
	}
	if n.ClockOff {
		meshes += ", its clock is " + cluster.Clock(n.ClockAhead)
	}
	return meshes
}
