package caddymesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
)

func exportCommand() *cobra.Command {
	var from source
	var e exporting
	var since string
	cmd := &cobra.Command{
		Use:   "export [--mesh <mesh>] [--since <time>]" + sourceUsage,
		Short: "Prints the audit logs as JSON lines, for a SIEM",
		Long: `
Prints the entries of the audit logs as JSON lines, directly from the database: mesh after
mesh, each in the order of its log, and then a signed checkpoint of the newest entry. The
broker may be running or stopped. The lines are those of "claudemesh audit export", and
"claudemesh audit verify --offline" checks them. A broken chain ends the command with
status 1, before the first bad entry.

--since takes a time (2026-01-02T03:04:05Z), a day (2026-01-02, UTC) or an age (36h, 7d).`,
		Example: `  caddy claudemesh audit export --config /etc/caddy/Caddyfile > audit.jsonl
  caddy claudemesh audit export --since 1d | curl --data-binary @- https://siem.example.com/ingest`,
		Args: cobra.NoArgs,
	}
	from.flags(cmd)
	cmd.Flags().StringVar(&e.only, "mesh", "", "Export only the mesh with this id or slug")
	cmd.Flags().StringVar(&since, "since", "", "Export only entries from this time on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if since != "" {
			if e.since, err = parseSince(since, time.Now()); err != nil {
				return err
			}
		}
		out := bufio.NewWriter(cmd.OutOrStdout())
		e.to = audit.NewExporter(out)
		err = from.each(func(storage Storage) error {
			if err := mustExist(storage); err != nil {
				return err
			}
			return withStore(storage, func(store broker.Storage) error { return e.export(cmd.Context(), store) })
		})
		if err == nil && e.only != "" && !e.found {
			err = noMesh(e.only)
		}
		return errors.Join(err, out.Flush())
	}
	return cmd
}

// exporting prints the audit logs of meshes.
type exporting struct {
	to    *audit.Exporter
	since time.Time
	only  string // a mesh, "" for all
	found bool
}

func (e *exporting) export(ctx context.Context, store audit.Store) error {
	logs, err := logsOf(ctx, store, e.only)
	if err != nil {
		return err
	}
	for _, l := range logs {
		e.found = true
		if _, err := e.to.ExportMesh(ctx, store, l.Mesh, e.since); err != nil {
			return fmt.Errorf("export the audit log of mesh %s: %w", meshName(l.Mesh, l.Slug), err)
		}
	}
	return nil
}

// parseSince reads a time, a day or an age before now.
func parseSince(text string, now time.Time) (time.Time, error) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	age, err := caddy.ParseDuration(text)
	if err != nil || age < 0 {
		return time.Time{}, fmt.Errorf("--since %q: give a time (2026-01-02T03:04:05Z), a day (2026-01-02) or an age (36h, 7d)", text)
	}
	return now.Add(-age), nil
}
