package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

func verifyCommand() *cobra.Command {
	var from source
	var v verifier
	cmd := &cobra.Command{
		Use:   "verify [--mesh <mesh>]" + jsonUsage + sourceUsage,
		Short: "Verifies the hash chains of the audit log",
		Long: `
Verifies the hash chain of each mesh's audit log, directly in the database. The
broker may be running or stopped. An entry that was changed, removed, added or
moved breaks the chain: then the command names the first bad entry and exits
with status 1. The command also names the entries at which the database was restored from
a backup.`,
		Example: `  caddy claudemesh audit verify --config /etc/caddy/Caddyfile
  caddy claudemesh audit verify --sqlite backup.db --json`,
		Args: cobra.NoArgs,
	}
	from.flags(cmd)
	cmd.Flags().StringVar(&v.only, "mesh", "", "Verify only the mesh with this id or slug")
	cmd.Flags().BoolVar(&v.json, "json", false, "Print one JSON object per mesh")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v.out = cmd.OutOrStdout()
		err := from.each(func(storage Storage) error {
			if err := mustExist(storage); err != nil {
				return err
			}
			return withStore(storage, func(store broker.Storage) error {
				return v.verify(context.Background(), store)
			})
		})
		return errors.Join(err, v.verdict())
	}
	return cmd
}

// verifier verifies the audit logs of meshes and prints the results.
type verifier struct {
	out  io.Writer
	json bool
	only string // a mesh, "" for all

	checked, bad int
}

// finding is the printed result for one mesh.
type finding struct {
	MeshID  wire.ID `json:"mesh_id"`
	Slug    string  `json:"slug,omitempty"`
	OK      bool    `json:"ok"`
	Entries int64   `json:"entries"`        // good ones, up to the first bad
	Head    string  `json:"head,omitempty"` // hash of the last good entry
	Seq     int64   `json:"bad_entry,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	// Restores lists when older states were restored. What came after such a state, up to
	// the restore, is not in the log.
	Restores []restore `json:"restores,omitempty"`
}

// restore is an entry about a restore.
type restore struct {
	Entry int64     `json:"entry"` // the entries before it are of the restored state
	At    time.Time `json:"at"`
}

func (v *verifier) verify(ctx context.Context, store audit.Store) error {
	logs, err := logsOf(ctx, store, v.only)
	if err != nil {
		return err
	}
	for _, l := range logs {
		report, err := audit.VerifyMesh(ctx, store, l.Mesh)
		f := finding{MeshID: l.Mesh, Slug: l.Slug, OK: err == nil, Entries: report.Head.Seq}
		if f.Entries > 0 {
			f.Head = fmt.Sprintf("%x", report.Head.Hash)
		}
		for _, e := range report.Restores {
			f.Restores = append(f.Restores, restore{e.Seq, e.At})
		}
		var bad *audit.BadEntry
		if errors.As(err, &bad) {
			f.Seq, f.Reason = bad.Seq, string(bad.Reason)
		} else if err != nil {
			return fmt.Errorf("read the audit log of mesh %s: %w", meshName(l.Mesh, l.Slug), err)
		}
		if err := v.print(f); err != nil {
			return err
		}
	}
	return nil
}

// logsOf lists the audit logs of a storage, or of the meshes there that a name means: an id, or a
// slug, which several meshes may have.
func logsOf(ctx context.Context, store audit.Store, name string) ([]audit.Log, error) {
	logs, err := store.AuditLogs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the audit logs: %w", err)
	}
	if name == "" {
		return logs, nil
	}
	id, noID := wire.ParseID(name)
	return slices.DeleteFunc(logs, func(l audit.Log) bool { return l.Slug != name && (noID != nil || l.Mesh != id) }), nil
}

// meshName writes a mesh for people: its slug and its id.
func meshName(id wire.ID, slug string) string {
	if slug == "" {
		return id.String()
	}
	return fmt.Sprintf("%s (%s)", visible.Line(slug, visible.People), id)
}

func (v *verifier) print(f finding) error {
	v.checked++
	if !f.OK {
		v.bad++
	}
	if v.json {
		return json.NewEncoder(v.out).Encode(f)
	}
	line := fmt.Sprintf("mesh %s: %s, chain intact", meshName(f.MeshID, f.Slug), howMany(f.Entries, "entry", "entries"))
	if !f.OK {
		line = fmt.Sprintf("mesh %s: CHAIN BROKEN, entry %d is %s", meshName(f.MeshID, f.Slug), f.Seq, f.Reason)
	}
	for _, r := range f.Restores {
		line += fmt.Sprintf("\n  entry %d: restored from a backup at %s; what the broker did after entry %d, until then, is not in the log",
			r.Entry, r.At.Local().Format(time.DateTime), r.Entry-1)
	}
	_, err := fmt.Fprintln(v.out, line)
	return err
}

func noMesh(name string) error {
	return fmt.Errorf("no mesh in this storage has the id or slug %q", name)
}

// verdict returns the error for the whole run, nil if all chains are intact.
func (v *verifier) verdict() error {
	switch {
	case v.bad > 0:
		return fmt.Errorf("the audit log was tampered with in %d of %d meshes", v.bad, v.checked)
	case v.only != "" && v.checked == 0:
		return noMesh(v.only)
	}
	return nil
}
