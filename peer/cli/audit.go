package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	json, verify bool
	limit        int
	before       int64
	since        moment
	member       string
	kinds        []string
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "audit", Short: "Show the log of routed messages and of changes in the mesh", Args: cobra.NoArgs,
		Example: `  claudemesh audit --limit 20
  claudemesh audit --member bob --since 2d
  claudemesh audit --kind member_joined,member_removed
  claudemesh audit --verify`,
		Long: `Show the newest entries of the mesh's audit log. Only the owner and admins can. Each entry
contains the hash of the one before, and the command remembers the newest entry that it has
seen, so it detects if the log was changed later. --verify checks the whole log. --before
with the number of an entry shows the entries before that one.
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
	cmd.Flags().BoolVar(&f.verify, "verify", false, "check the whole log instead of showing it")
	cmd.Flags().IntVar(&f.limit, "limit", 50, "show at most this many entries, the newest")
	cmd.Flags().Int64Var(&f.before, "before", 0, "only entries before the one with this number")
	cmd.Flags().Var(&f.since, "since", sinceHelp)
	cmd.Flags().StringVar(&f.member, "member", "", "only entries about this member, or caused by it")
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
	client, m, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	meshID, err := wire.ParseID(m.MeshID)
	if err != nil {
		return fmt.Errorf("audit: the broker of this mesh doesn't keep an audit log")
	}
	w := &witness{dir: a.dir, meshID: meshID}
	if err := w.load(); err != nil {
		return err
	}
	if f.verify {
		return a.auditVerify(ctx, client, w)
	}
	members, err := client.ListMembers(ctx)
	if err != nil {
		return err
	}
	keep, err := f.keep(members, m.Member.Public())
	if err != nil {
		return err
	}
	progress := a.waiting("reading the audit log")
	rows, err := newestEntries(ctx, client, w, f, keep)
	progress.done()
	if err != nil {
		return err
	}
	if err := w.save(ctx); err != nil {
		return err
	}
	if f.json {
		return a.printJSON(nonNil(rows))
	}
	names, now := newMemberNames(members, m.Member.Public()), time.Now()
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

// newestEntries reads the log backwards until it has enough entries, and returns them in
// their order. It verifies every entry that it reads.
func newestEntries(ctx context.Context, client *peer.Client, w *witness, f *auditFlags, keep func(*wire.AuditRow) bool) ([]wire.AuditRow, error) {
	var found []wire.AuditRow // newest first
	query := wire.AuditQuery{Last: auditPage}
	if len(f.kinds) == 0 && f.member == "" {
		query.Last = int64(min(f.limit, auditPage))
	}
	size := query.Last
	if f.before > 0 {
		query = pageBefore(f.before, size)
	}
	var next *audit.Entry // the entry after the page
	for query.Last > 0 || query.Limit > 0 {
		rows, err := client.Audit(ctx, query)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			break
		}
		first, err := audit.FromRow(w.meshID, rows[0])
		if err != nil {
			return nil, err
		}
		head, err := w.check(audit.Head{Seq: first.Seq - 1, Hash: first.Prev}, rows)
		if err != nil {
			return nil, err
		}
		if next != nil && (head.Seq != next.Seq-1 || head.Hash != next.Prev) {
			return nil, fmt.Errorf("the audit log is broken: entry %d does not follow entry %d", next.Seq, head.Seq)
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
		next, query = &first, pageBefore(first.Seq, size)
	}
	slices.Reverse(found)
	return found, nil
}

// pageBefore returns a query for the entries before seq. Before the first entry it asks for 0.
func pageBefore(seq, size int64) wire.AuditQuery {
	after := max(0, seq-1-size)
	return wire.AuditQuery{After: after, Limit: max(0, seq-1-after)}
}

// entriesPerLine is how many entries of the log auditVerify checks between two reports.
const entriesPerLine = 10_000

func (a *app) auditVerify(ctx context.Context, client *peer.Client, w *witness) error {
	var head audit.Head
	progress := a.waiting("")
	defer progress.done()
	for {
		progress.next(fmt.Sprintf("checking the audit log; %d entries so far are intact", head.Seq/entriesPerLine*entriesPerLine))
		rows, err := client.Audit(ctx, wire.AuditQuery{After: head.Seq, Limit: auditPage})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		if head, err = w.check(head, rows); err != nil {
			return err
		}
	}
	if head.Seq < w.known.Seq {
		return fmt.Errorf("the audit log was truncated: this machine has seen entry %d, and the log now ends at %d", w.known.Seq, head.Seq)
	}
	if err := w.save(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "The audit log is intact: %d entries; the newest has the hash %s.\n", head.Seq, head.Hash)
	return err
}

// witness remembers the newest entry of a mesh's log that this machine has seen. So it
// detects a rewritten history even if that is consistent.
type witness struct {
	dir    peer.Dir
	meshID wire.ID
	known  audit.Head // from the file
	newest audit.Head
}

// seenHead is an entry of the file, which maps mesh ids to heads.
type seenHead struct {
	Seq  int64    `json:"seq"`
	Hash wire.Key `json:"hash"` // 64 hex digits, like a key
}

const witnessName = "audit-heads.json"

func (w *witness) read() (map[string]seenHead, error) {
	heads := make(map[string]seenHead)
	b, err := os.ReadFile(w.dir.Path(witnessName))
	if errors.Is(err, fs.ErrNotExist) {
		return heads, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &heads)
	}
	if err != nil {
		return nil, fmt.Errorf("read the remembered heads of audit logs: %w", err)
	}
	return heads, nil
}

func (w *witness) load() error {
	heads, err := w.read()
	h := heads[w.meshID.String()]
	w.known = audit.Head{Seq: h.Seq, Hash: audit.Hash(h.Hash)}
	w.newest = w.known
	return err
}

// check verifies rows that follow head, and that they contain the remembered entry.
func (w *witness) check(head audit.Head, rows []wire.AuditRow) (audit.Head, error) {
	entries := make([]audit.Entry, len(rows))
	for i := range rows {
		e, err := audit.FromRow(w.meshID, rows[i])
		if err != nil {
			return head, err
		}
		if e.Seq == w.known.Seq && e.Hash != w.known.Hash {
			return head, fmt.Errorf("the audit log was rewritten: entry %d is not the one that this machine has seen before", e.Seq)
		}
		entries[i] = e
	}
	head, err := audit.Verify(w.meshID, head, entries)
	if err != nil {
		return head, err
	}
	if head.Seq > w.newest.Seq {
		w.newest = head
	}
	return head, nil
}

func (w *witness) save(ctx context.Context) error {
	lock, err := peer.Lock(ctx, w.dir.Path("config.lock"))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	heads, err := w.read()
	if err != nil {
		return err
	}
	heads[w.meshID.String()] = seenHead{w.newest.Seq, wire.Key(w.newest.Hash)}
	b, err := json.MarshalIndent(heads, "", "  ")
	if err != nil {
		return fmt.Errorf("remember the audit log: %w", err)
	}
	return w.dir.WriteFile(witnessName, append(b, '\n'))
}
