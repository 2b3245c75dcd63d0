package caddymesh

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/visible"
)

// watchEvery is the pause between two looks of --watch.
const watchEvery = 2 * time.Second

// question is a command that asks the running broker, through Caddy's admin endpoint.
type question struct {
	name, short string
	ofMesh      bool     // it takes a mesh
	columns     []string // names of fields; the table's heads are made of them
	tall        bool     // a line for each field
}

var questions = []question{
	{name: "status", short: "Shows whether each broker works, and how much it does", columns: []string{
		"storage", "ready", "connections", "meshes", "presences", "messages_accepted", "messages_open", "queue_deliveries", "queue_oldest_seconds", "commit_errors"}},
	{name: "meshes", short: "Lists the meshes in memory: those where somebody is or lately was; in a cluster, those of other nodes, too", columns: []string{
		"slug", "id", "members", "presences", "connections", "owner"}},
	{name: "mesh", short: "Shows one mesh: who is there, what waits and where its audit log ends", ofMesh: true, tall: true, columns: []string{
		"slug", "id", "name", "members", "presences", "connections", "messages", "deliveries", "bytes", "audit_entries", "audit_hash"}},
	{name: "sessions", short: "Lists who is in a mesh, or may come back", ofMesh: true, columns: []string{
		"name", "role", "status", "online", "host", "key", "connected_at", "last_seen_at"}},
	{name: "members", short: "Lists the members of a mesh, removed ones included", ofMesh: true, columns: []string{
		"name", "role", "state", "presences", "key", "joined_at"}},
	{name: "queue", short: "Shows what waits for the recipients of a mesh", ofMesh: true, columns: []string{"mesh", "messages", "deliveries", "bytes"}},
}

// admin holds the flags that say where the broker is and how to print.
type admin struct {
	address, config, adapter string
	json, watch              bool
}

// flags adds the flags of a command that prints rows.
func (a *admin) flags(cmd *cobra.Command) {
	a.where(cmd)
	cmd.Flags().BoolVar(&a.json, "json", false, "Print JSON")
}

// where adds the flags that tell where the broker is.
func (a *admin) where(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&a.config, "config", "c", "", "Config file of the running Caddy, which names its admin endpoint")
	flags.StringVarP(&a.adapter, "adapter", "a", "", "Name of the config adapter, if the file name doesn't imply it")
	flags.StringVar(&a.address, "address", "", "Address of the admin endpoint, instead of the config's")
}

const (
	whereUsage = " [--config <file> [--adapter <name>] | --address <address>]"
	adminUsage = " [--json]" + whereUsage
)

func (q question) command() *cobra.Command {
	var a admin
	use := q.name
	args := cobra.NoArgs
	if q.ofMesh {
		use, args = use+" <mesh>", cobra.ExactArgs(1)
	}
	cmd := &cobra.Command{
		Use: use + " [--watch]" + adminUsage, Short: q.short, Args: args,
		Long: q.short + `.
The command asks the Caddy that runs, through its admin endpoint. A mesh is named by
its id, or by its slug while somebody is there.`,
	}
	a.flags(cmd)
	a.watches(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if q.ofMesh {
			query.Set("mesh", args[0])
		}
		print := a.print
		if q.tall {
			print = a.printTall
		}
		return a.repeat(cmd, func(w io.Writer) error {
			rows, err := a.ask(http.MethodGet, q.name, query)
			if err != nil {
				return err
			}
			return print(w, rows, q.columns)
		})
	}
	return cmd
}

// watches adds the flag of a command that may ask again and again.
func (a *admin) watches(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&a.watch, "watch", "w", false, "Ask again every two seconds, until interrupted")
}

// repeat shows something once, or with --watch until the command is interrupted.
func (a *admin) repeat(cmd *cobra.Command, show func(io.Writer) error) error {
	for {
		var text strings.Builder
		if err := show(&text); err != nil {
			return err
		}
		if a.watch && !a.json {
			fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), text.String()); err != nil || !a.watch {
			return err
		}
		select {
		case <-time.After(watchEvery):
		case <-cmd.Context().Done():
			return nil
		}
	}
}

func headsCommand() *cobra.Command {
	var a admin
	cmd := &cobra.Command{
		Use: "heads [--watch]" + adminUsage, Short: "Shows the newest entry's number and hash of each mesh's audit log", Args: cobra.NoArgs,
		Long: `
Shows the newest entry's number and hash of each mesh's audit log, as the broker that
runs has it. Keep them elsewhere: whoever can write to the database can make a whole new
chain, and it will not end in them.`,
	}
	a.flags(cmd)
	a.watches(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.repeat(cmd, func(w io.Writer) error {
			rows, err := a.ask(http.MethodGet, "audit", nil)
			if err != nil {
				return err
			}
			return a.print(w, rows, []string{"mesh", "seq", "hash"})
		})
	}
	return cmd
}

func kickCommand() *cobra.Command {
	var a admin
	var reason string
	cmd := &cobra.Command{
		Use: "kick <mesh> <name|key> [--reason <text>]" + adminUsage, Short: "Ends the sessions of a name or key", Args: cobra.ExactArgs(2),
		Long: `
Ends the sessions that a name, a key or the start of one means. They are not let in again
by themselves; whoever sits there is told and can begin a new one. The audit log has it.`,
	}
	a.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "What the session is told")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		rows, err := a.ask(http.MethodPost, "kick", url.Values{"mesh": {args[0]}, "target": {args[1]}, "reason": {reason}})
		if err != nil {
			return err
		}
		if err := a.print(cmd.OutOrStdout(), rows, []string{"name"}); err != nil {
			return err
		}
		if len(rows) == 0 {
			return fmt.Errorf("no session in mesh %s is called %q or has such a key", args[0], args[1])
		}
		return nil
	}
	return cmd
}

// find returns the address of the admin endpoint.
func (a *admin) find() (string, error) {
	config, file, adapter, err := caddycmd.LoadConfig(a.config, a.adapter)
	if err != nil {
		return "", err
	}
	address, err := caddycmd.DetermineAdminAPIAddress(a.address, config, file, adapter)
	if err != nil {
		return "", fmt.Errorf("find the admin endpoint: %w", err)
	}
	return address, nil
}

// ask asks the admin endpoint and returns the rows of its answer.
func (a *admin) ask(method, what string, query url.Values) ([]map[string]any, error) {
	address, err := a.find()
	if err != nil {
		return nil, err
	}
	res, err := caddycmd.AdminAPIRequest(address, method, "/claudemesh/"+what+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the broker at %s: %w", address, err)
	}
	defer res.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(res.Body, 256<<20))
	decoder.UseNumber()
	var rows []map[string]any
	if err := decoder.Decode(&rows); err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	return rows, nil
}

// print writes rows as a table, or as JSON.
func (a *admin) print(w io.Writer, rows []map[string]any, columns []string) error {
	if a.json {
		return json.NewEncoder(w).Encode(rows)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.ReplaceAll(strings.Join(columns, "\t"), "_", " ")))
	for _, row := range rows {
		for i, column := range columns {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, cell(column, row[column]))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// printTall writes each field of the rows on a line of its own, or everything as JSON.
func (a *admin) printTall(w io.Writer, rows []map[string]any, columns []string) error {
	if a.json {
		return json.NewEncoder(w).Encode(rows)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for _, column := range columns {
			fmt.Fprintf(table, "%s\t%s\n", strings.ToUpper(strings.ReplaceAll(column, "_", " ")), cell(column, row[column]))
		}
	}
	return table.Flush()
}

// cell writes a value as people read it. Names come from others and may hold anything.
func cell(column string, value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.HasSuffix(column, "_seconds") {
			return time.Duration(f * float64(time.Second)).Round(time.Second).String()
		}
		return v.String()
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return at.Local().Format(time.DateTime)
		}
		if v == "" {
			return "-"
		}
		return visible.Line(v, visible.People)
	}
	return fmt.Sprint(value)
}
