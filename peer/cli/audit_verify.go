package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/checkpoints"
	"github.com/claudemesh/claudemesh/wire"
)

func (a *app) auditVerifyCommand() *cobra.Command {
	var offline string
	cmd := &cobra.Command{
		Use: "verify [--offline <file>]", Short: "Check the whole audit log against the checkpoints that were kept", Args: cobra.NoArgs,
		Annotations: exits("0  no check failed", "1  the log was changed, or can't be checked", exitsUsage),
		Example: `  claudemesh audit verify
  claudemesh audit verify --offline audit.jsonl`,
		Long: `Check every entry of the mesh's audit log, and the checkpoints that the broker signs: that no
entry was changed, removed, added or moved, and that the log still begins with what this
machine has kept. If the broker once showed something else, the command shows the two signed
notes that contradict each other. Members who are neither owner nor admin check only the
checkpoints, because they may not read the entries.
--offline checks an export (- for stdin) without network, against the kept checkpoints.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if offline != "" {
				return a.auditOffline(cmd.Context(), offline)
			}
			return a.auditVerify(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&offline, "offline", "", "check this export instead of the broker's log")
	return cmd
}

// entriesPerLine is how many entries of the log auditVerify checks between two reports.
const entriesPerLine = 10_000

func (a *app) auditVerify(ctx context.Context) error {
	log, err := a.openAudit(ctx)
	if err != nil {
		return err
	}
	defer log.client.Close()
	found := log.found
	switch {
	case log.kept.Doubt != nil:
		return a.showDoubt(log.kept.Doubt)
	case found != nil && !found.Outcome.OK():
		return errors.New(checkpoints.Text(found))
	case found == nil:
		fmt.Fprintln(a.err, "note: the broker shows no checkpoints of its audit log, so only the entries are checked")
	default:
		a.printFound(found)
	}
	head := log.base
	progress := a.waiting("")
	defer progress.done()
	err = log.each(ctx, head.Seq, func(rows []wire.AuditRow) (err error) {
		progress.next(fmt.Sprintf("checking the audit log; %d entries so far are intact", head.Seq/entriesPerLine*entriesPerLine))
		head, err = log.check(head, rows)
		return err
	})
	progress.done()
	var request *peer.RequestError
	if errors.As(err, &request) && request.Code == wire.CodeForbidden && found != nil {
		_, err := fmt.Fprintln(a.out, "Only the owner and admins may read the entries; the checkpoints agree with each other.")
		return err
	}
	if err != nil {
		return a.showContradiction(err)
	}
	for size, signed := range log.signed {
		if size > head.Seq {
			return fmt.Errorf("the audit log was cut off: the broker has signed a log of %d entries, and it ends at %d\n\n%s", size, head.Seq, signed.note)
		}
	}
	text := "The audit log is intact: %d entries; the newest has the hash %s.\n"
	if log.base.Seq > 0 {
		text = "The audit log is intact: %d entries; the newest has the hash %s. The first " +
			fmt.Sprint(log.base.Seq) + " were deleted, up to a signed checkpoint.\n"
	}
	_, err = fmt.Fprintf(a.out, text, head.Seq, head.Hash)
	return err
}

// printFound prints what the comparison of checkpoints has found.
func (a *app) printFound(found *audit.Comparison) {
	fmt.Fprintf(a.out, "Checkpoints: %s.\n", printable(checkpoints.Text(found)))
}

// showDoubt prints the two notes that contradict each other.
func (a *app) showDoubt(doubt *checkpoints.Doubt) error {
	fmt.Fprintf(a.out, "%s (found %s).\n\n%s\n%s\n", printable(checkpoints.Text(&doubt.Comparison)), doubt.FoundAt.Local().Format("2006-01-02 15:04"),
		printable(checkpoints.Notes(&doubt.Comparison)),
		copyable("The broker has signed both, so they prove it to others too: keep this output, and ask the broker's operator. "+
			"If you know the reason and want to continue with the log as it is, run `claudemesh audit accept`."))
	return errReported
}

// showContradiction adds the signed note that entries contradict.
func (a *app) showContradiction(err error) error {
	var contradiction *audit.ContradictionError
	if errors.As(err, &contradiction) {
		return fmt.Errorf("the audit log was rewritten: %w\n\n%s", err, contradiction.Note)
	}
	return err
}

func (a *app) auditOffline(ctx context.Context, name string) error {
	var in io.Reader
	if name == "-" {
		in = a.stdin(ctx, "Paste the export. Ctrl-D on a line of its own ends it; Ctrl-C cancels.")
	} else {
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read the export: %w", err)
		}
		defer file.Close()
		in = file
	}
	return a.verifyExport(in)
}

func (a *app) verifyExport(in io.Reader) error {
	book := checkpoints.Open(a.dir)
	reports, err := audit.VerifyExport(in, func(id wire.ID) (audit.Kept, error) {
		record, err := book.Record(id)
		return record.Kept, err
	})
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		return errors.New("the export is empty")
	}
	bad := false
	for _, r := range reports {
		var text string
		if r.Bad != nil {
			bad = true
			text = a.showContradiction(r.Bad).Error()
		} else {
			text = exportText(r)
		}
		if _, err := fmt.Fprintf(a.out, "mesh %s: %s\n", r.MeshID, printable(text)); err != nil {
			return err
		}
	}
	if bad {
		return errReported
	}
	return nil
}

// exportText says what a good export proves.
func exportText(r *audit.ExportReport) string {
	if r.First == 0 {
		return "no entries"
	}
	text := fmt.Sprintf("entries %d to %d are intact", r.First, r.Head.Seq)
	switch {
	case !r.Trusted:
		text += "; this machine has kept no checkpoint of this log, so whoever made the export could have made it up"
	case r.Signed == r.Head.Seq:
		text += ", and the broker has signed them"
	case r.Signed > 0:
		text += fmt.Sprintf(", and the broker has signed them up to number %d", r.Signed)
	default:
		text += "; no signed checkpoint is among them"
	}
	if r.KeptSize > r.Head.Seq || r.KeptSize > 0 && r.KeptSize < r.First {
		text += fmt.Sprintf("; the kept checkpoint of %d entries can't be compared with them", r.KeptSize)
	}
	return text
}

func (a *app) auditAcceptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "accept", Short: "Take the audit log as the broker shows it now, after a warning", Args: cobra.NoArgs,
		Example: `  claudemesh audit accept
  claudemesh audit accept --mesh team`,
		Long: `Forget the checkpoint that this machine has kept of the mesh's audit log, and keep the one that
the broker shows now. Do this only when you know why they contradict each other, for example
because the broker was replaced. A restore that the operator has announced needs no accept.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := a.openAudit(cmd.Context())
			if err != nil {
				return err
			}
			defer log.client.Close()
			if log.shown == nil {
				return errors.New("the broker shows no checkpoints of its audit log")
			}
			if err := log.book.Accept(cmd.Context(), log.meshID, log.shown); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "From now on, the log must begin with this one:\n\n%s", printable(log.shown.Newest))
			return err
		},
	}
}
