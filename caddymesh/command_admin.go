package caddymesh

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

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
	{name: "meshes", short: "Lists all meshes, who is there, and which node of a cluster serves each", columns: []string{
		"slug", "id", "members", "presences", "connections", "owner"}},
	{name: "mesh", short: "Shows one mesh: who is there, what waits and where its audit log ends", ofMesh: true, tall: true, columns: []string{
		"slug", "id", "name", "members", "presences", "connections",
		"queue_messages", "queue_deliveries", "queue_bytes", "queue_oldest_seconds", "audit_entries", "audit_hash"}},
	{name: "sessions", short: "Lists who is in a mesh, or may come back", ofMesh: true, columns: []string{
		"name", "role", "status", "online", "host", "key", "connected_at", "last_seen_at"}},
	{name: "members", short: "Lists the members of a mesh, removed ones included", ofMesh: true, columns: []string{
		"name", "role", "state", "presences", "key", "joined_at"}},
	{name: "queue", short: "Shows what waits for the recipients of a mesh", ofMesh: true, columns: []string{"slug", "messages", "deliveries", "bytes", "oldest_seconds"}},
}

func (q question) command() *cobra.Command {
	var a admin
	var shown display
	use := q.name
	args := cobra.NoArgs
	if q.ofMesh {
		use, args = use+" <mesh>", arguments("<mesh>")
	}
	cmd := &cobra.Command{
		Use: use + watchUsage + whereUsage, Short: q.short, Args: args,
		Long: q.short + `.
The command asks the Caddy that runs, through its admin endpoint. A mesh is named by
its slug, or by its id if several have that slug.`,
	}
	a.where(cmd)
	shown.watches(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if q.ofMesh {
			query.Set("mesh", args[0])
		}
		print := shown.print
		if q.tall {
			print = shown.printTall
		}
		return shown.repeat(cmd, func(ctx context.Context, w io.Writer) error {
			rows, err := a.ask(ctx, http.MethodGet, q.name, query)
			if err != nil {
				return err
			}
			return print(w, rows, q.columns)
		})
	}
	return cmd
}

func headsCommand() *cobra.Command {
	var a admin
	var shown display
	cmd := &cobra.Command{
		Use: "heads" + watchUsage + whereUsage, Short: "Shows the newest entry's number and hash of each mesh's audit log", Args: cobra.NoArgs,
		Long: `
Shows the newest entry's number and hash of each mesh's audit log, as the broker that
runs has it. Keep them elsewhere: whoever can write to the database can make a whole new
chain, and it will not end in them. --json has the meshes' ids, too, which differ even if
two meshes have the same slug.`,
	}
	a.where(cmd)
	shown.watches(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return shown.repeat(cmd, func(ctx context.Context, w io.Writer) error {
			rows, err := a.ask(ctx, http.MethodGet, "audit", nil)
			if err != nil {
				return err
			}
			return shown.print(w, rows, []string{"slug", "seq", "hash"})
		})
	}
	return cmd
}

func kickCommand() *cobra.Command {
	var a admin
	var shown display
	var reason string
	cmd := &cobra.Command{
		Use: "kick <mesh> <name|key> [--reason <text>]" + jsonUsage + whereUsage, Short: "Ends the sessions of a name or key", Args: arguments("<mesh>", "<name|key>"),
		Long: `
Ends the sessions with this name or key; the first 8 digits of a key are enough. The sessions
may come back, and most clients do so by themselves; to keep a member out, use "remove". The
audit log records the kick.`,
	}
	a.where(cmd)
	shown.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "What the session is told")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		rows, err := a.ask(cmd.Context(), http.MethodPost, "kick", url.Values{"mesh": {args[0]}, "target": {args[1]}, "reason": {reason}})
		if err != nil {
			return err
		}
		if len(rows) > 0 || shown.json {
			if err := shown.print(cmd.OutOrStdout(), rows, []string{"name"}); err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return fmt.Errorf("no session in mesh %s is called %q or has such a key", args[0], args[1])
		}
		return nil
	}
	return cmd
}
