package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// auditPage is the number of entries per request, which is the broker's limit.
const auditPage = 500

// auditFlags are the flags of audit.
type auditFlags struct {
	json   bool
	limit  int
	before int64
	since  moment
	member string
	kinds  []string
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit", Short: "Show the log of routed messages and of changes in the mesh", Args: cobra.NoArgs,
		Example: `  claudemesh audit --limit 20
  claudemesh audit --member bob --since 2d
  claudemesh audit --kind member_joined,member_removed
  claudemesh audit verify
  claudemesh audit export > audit.jsonl`,
		Long: `Show the newest entries of the mesh's audit log. Only the owner and admins can. Each entry
contains the hash of the one before, and this machine keeps the checkpoint that the broker
signs at each connect, so a change of the log is noticed. --before with the number of an
entry shows the entries before that one.
The kinds of entries are ` + strings.Join(auditKinds(), ", ") + `.
--json: an array of {seq, at (Unix ms), kind, actor, detail, prev, hash}.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.limit < 1 {
				return usagef("--limit must be 1 or more")
			}
			if f.before < 0 {
				return usagef("--before must be the number of an entry")
			}
			for _, kind := range f.kinds {
				if !slices.Contains(auditKinds(), kind) {
					return usagef("%q isn't a kind of entry; choose from %s", kind, strings.Join(auditKinds(), ", "))
				}
			}
			return a.audit(cmd.Context(), &f)
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().IntVar(&f.limit, "limit", 50, "show at most this many entries, the newest")
	cmd.Flags().Int64Var(&f.before, "before", 0, "only entries before the one with this number")
	cmd.Flags().Var(&f.since, "since", sinceHelp)
	cmd.Flags().StringVar(&f.member, "member", "", "only entries about this member, or caused by it")
	cmd.AddCommand(a.auditVerifyCommand(), a.auditExportCommand(), a.auditAcceptCommand())
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only entries of these kinds, separated by commas")
	return cmd
}

func auditKinds() []string {
	var kinds []string
	for _, k := range []audit.Kind{
		audit.MeshCreated, audit.MemberJoined, audit.MemberRemoved, audit.MemberBanned, audit.MemberUnbanned, audit.RoleChanged,
		audit.InviteCreated, audit.InviteRevoked, audit.PeerJoined, audit.PeerReturned, audit.PeerLeft, audit.PeerKicked, audit.LogRestored, audit.Routed,
	} {
		kinds = append(kinds, string(k))
	}
	return kinds
}

func (a *app) audit(ctx context.Context, f *auditFlags) error {
	log, err := a.openAudit(ctx)
	if err != nil {
		return err
	}
	defer log.client.Close()
	a.warnOfDoubt(log.mesh, log.kept, log.found)
	members, err := log.client.ListMembers(ctx)
	if err != nil {
		return err
	}
	keep, err := f.keep(members, log.mesh.Member.Public())
	if err != nil {
		return err
	}
	progress := a.waiting("reading the audit log")
	rows, err := newestEntries(ctx, log.client, log, f, keep)
	progress.done()
	if err != nil {
		return err
	}
	if f.json {
		return a.printJSON(nonNil(rows))
	}
	names, now := newMemberNames(members, log.mesh.Member.Public()), time.Now()
	out := [][]string{{"NO", "TIME", "WHAT HAPPENED"}}
	for i := range rows {
		r := &rows[i]
		out = append(out, []string{strconv.FormatInt(r.Seq, 10), timeText(time.UnixMilli(r.At), now), auditText(r, &names, now)})
	}
	return a.table(out, "NO", "TIME")
}

// keep returns a function that reports whether an entry matches the flags.
func (f *auditFlags) keep(members []wire.MemberRow, own wire.Key) (func(*wire.AuditRow) bool, error) {
	var member wire.ID
	if f.member != "" {
		found, err := peer.ResolveMember(f.member, own, members)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(members, func(m wire.MemberRow) bool { return m.Pubkey == found.Key })
		if i < 0 {
			return nil, &peer.NobodyError{Name: f.member}
		}
		member = members[i].ID
	}
	return func(r *wire.AuditRow) bool {
		return (len(f.kinds) == 0 || slices.Contains(f.kinds, r.Kind)) && (f.member == "" || concerns(r, member))
	}, nil
}

// auditReader reads pages of a log. *peer.Client does.
type auditReader interface {
	Audit(context.Context, wire.AuditQuery) ([]wire.AuditRow, error)
}

// newestEntries reads the log backwards until it has enough entries, and returns them in
// their order. It verifies every entry that it reads.
func newestEntries(ctx context.Context, from auditReader, log *auditLog, f *auditFlags, keep func(*wire.AuditRow) bool) ([]wire.AuditRow, error) {
	var found []wire.AuditRow // newest first
	query := wire.AuditQuery{Last: auditPage}
	if len(f.kinds) == 0 && f.member == "" {
		query.Last = int64(min(f.limit, auditPage))
	}
	size, end := query.Last, f.before // only entries before end are wanted, if it isn't 0
	if end > 0 {
		query = pageBefore(end, size)
	}
	var next *audit.Entry // the entry after the page
	for query.Last > 0 || query.Limit > 0 {
		rows, err := from.Audit(ctx, query)
		if err != nil {
			return nil, err
		}
		if rows = rowsBefore(rows, end); len(rows) == 0 {
			break
		}
		first, err := log.checkPage(rows, next)
		if err != nil {
			return nil, err
		}
		for i := len(rows) - 1; i >= 0; i-- {
			if !f.since.Time.IsZero() && time.UnixMilli(rows[i].At).Before(f.since.Time) || len(found) == f.limit {
				slices.Reverse(found)
				return found, nil
			}
			if keep(&rows[i]) {
				found = append(found, rows[i])
			}
		}
		next, end, query = &first, first.Seq, pageBefore(first.Seq, size)
	}
	slices.Reverse(found)
	return found, nil
}

// checkPage verifies a page of the log, and that the entry next follows it, if that isn't nil. It
// returns the first entry of the page.
func (l *auditLog) checkPage(rows []wire.AuditRow, next *audit.Entry) (first audit.Entry, err error) {
	if first, err = audit.FromRow(l.meshID, rows[0]); err != nil {
		return first, err
	}
	head, err := l.check(audit.Head{Seq: first.Seq - 1, Hash: first.Prev}, rows)
	if err == nil && next != nil && (head.Seq != next.Seq-1 || head.Hash != next.Prev) {
		err = fmt.Errorf("the audit log is broken: entry %d does not follow entry %d", next.Seq, head.Seq)
	}
	return first, err
}

// pageBefore returns a query for the entries before seq. Before the first entry it asks for 0.
func pageBefore(seq, size int64) wire.AuditQuery {
	after := max(0, seq-1-size)
	return wire.AuditQuery{After: after, Limit: max(0, seq-1-after)}
}

// rowsBefore returns the rows before entry end; 0 means all. A page may contain later rows: if the
// broker has deleted old entries, it fills the page from those that are left.
func rowsBefore(rows []wire.AuditRow, end int64) []wire.AuditRow {
	if end > 0 {
		if i := slices.IndexFunc(rows, func(r wire.AuditRow) bool { return r.Seq >= end }); i >= 0 {
			return rows[:i]
		}
	}
	return rows
}
