package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/wire"
)

func verifyCommand() *cobra.Command {
	var (
		from   source
		meshID string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "verify [--mesh <id>]" + jsonUsage + sourceUsage,
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
	cmd.Flags().StringVar(&meshID, "mesh", "", "Verify only the mesh with this id")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print one JSON object per mesh")
	cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
		v := verifier{out: cmd.OutOrStdout(), json: asJSON}
		if meshID != "" {
			id, err := wire.ParseID(meshID)
			if err != nil {
				return result(fmt.Errorf("--mesh: %w", err))
			}
			v.only = &id
		}
		err := from.each(func(storage Storage) error {
			if err := mustExist(storage); err != nil {
				return err
			}
			return withStore(storage, func(store broker.Storage) error {
				return v.verify(context.Background(), store)
			})
		})
		return result(errors.Join(err, v.verdict()))
	})
	return cmd
}

// verifier verifies the audit logs of meshes and prints the results.
type verifier struct {
	out  io.Writer
	json bool
	only *wire.ID // nil for all meshes

	checked, bad int
}

// finding is the printed result for one mesh.
type finding struct {
	MeshID  wire.ID `json:"mesh_id"`
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
	meshes, err := store.AuditMeshes(ctx)
	if err != nil {
		return fmt.Errorf("list the meshes: %w", err)
	}
	for _, id := range meshes {
		if v.only != nil && id != *v.only {
			continue
		}
		report, err := audit.VerifyMesh(ctx, store, id)
		f := finding{MeshID: id, OK: err == nil, Entries: report.Head.Seq}
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
			return fmt.Errorf("read the audit log of mesh %s: %w", id, err)
		}
		if err := v.print(f); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) print(f finding) error {
	v.checked++
	if !f.OK {
		v.bad++
	}
	if v.json {
		return json.NewEncoder(v.out).Encode(f)
	}
	line := fmt.Sprintf("mesh %s: %d entries, chain intact", f.MeshID, f.Entries)
	if !f.OK {
		line = fmt.Sprintf("mesh %s: CHAIN BROKEN, entry %d is %s", f.MeshID, f.Seq, f.Reason)
	}
	for _, r := range f.Restores {
		line += fmt.Sprintf("\n  entry %d: restored from a backup at %s; what the broker did after entry %d, until then, is not in the log",
			r.Entry, r.At.Local().Format(time.DateTime), r.Entry-1)
	}
	_, err := fmt.Fprintln(v.out, line)
	return err
}

// verdict returns the error for the whole run, nil if all chains are intact.
func (v *verifier) verdict() error {
	switch {
	case v.bad > 0:
		return fmt.Errorf("the audit log was tampered with in %d of %d meshes", v.bad, v.checked)
	case v.only != nil && v.checked == 0:
		return fmt.Errorf("mesh %s not found in this database", v.only)
	}
	return nil
}
