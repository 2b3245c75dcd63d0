package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) auditExportCommand() *cobra.Command {
	var after int64
	cmd := &cobra.Command{
		Use: "export [--after <number>]", Short: "Print the audit log as JSON lines, with its checkpoints", Args: cobra.NoArgs,
		Example: `  claudemesh audit export > audit.jsonl
  claudemesh audit export --after 1042`,
		Long: `Print every entry of the mesh's audit log, oldest first, one JSON object per line, and then the
broker's newest checkpoint. Only the owner and admins can. Anybody can check the export later with
audit verify --offline, as long as nobody reformats the lines. --after goes on after an entry.
Fields of an entry: type ("entry"), mesh, seq, time (RFC 3339, UTC), kind, actor (a member's
id, or broker), detail (an object), prev and hash (64 hex digits).
Fields of a checkpoint: type ("checkpoint"), mesh, verifier, note (C2SP tlog-checkpoint).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if after < 0 {
				return usagef("--after must be the number of an entry")
			}
			return a.auditExport(cmd.Context(), after)
		},
	}
	cmd.Flags().Int64Var(&after, "after", 0, "only entries after the one with this number")
	return cmd
}

func (a *app) auditExport(ctx context.Context, after int64) error {
	log, err := a.openAudit(ctx)
	if err != nil {
		return err
	}
	defer log.client.Close()
	a.warnOfDoubt(log.mesh, log.kept, log.found)
	out := audit.NewExporter(a.out)
	if log.base.Seq > after {
		if err := out.Checkpoint(log.meshID, log.shown.Verifier, log.shown.Pruned); err != nil {
			return err
		}
		after = log.base.Seq
	}
	err = log.each(ctx, after, func(rows []wire.AuditRow) error {
		for i := range rows {
			e, err := audit.FromRow(log.meshID, rows[i])
			if err == nil {
				err = out.Entry(e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || log.shown == nil {
		return err
	}
	return out.Checkpoint(log.meshID, log.shown.Verifier, log.shown.Newest)
}
