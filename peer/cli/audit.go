package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// auditPage is how many entries one request asks for; it is the broker's limit.
const auditPage = 500

func (a *app) auditCommand() *cobra.Command {
	var asJSON, verify bool
	var limit int
	cmd := &cobra.Command{
		Use: "audit", Short: "Show the log of what was routed and of who came and went", Args: cobra.NoArgs,
		Example: `  claudemesh audit --limit 20
  claudemesh audit --verify`,
		Long: `Show the newest entries of the mesh's audit log, for the owner and admins. Each entry
holds the hash of the one before, and the newest entry that was seen is remembered in the
config directory: a log that was changed since is found. --verify checks the whole log.
--json: an array of {seq, at (Unix ms), kind, actor, detail, prev, hash}.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > auditPage {
				return usagef("--limit must be 1 to %d", auditPage)
			}
			return a.audit(cmd.Context(), limit, verify, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&verify, "verify", false, "check the whole log instead of showing it")
	cmd.Flags().IntVar(&limit, "limit", 50, "the newest so many entries")
	return cmd
}

func (a *app) audit(ctx context.Context, limit int, verify, asJSON bool) error {
	client, m, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	meshID, err := wire.ParseID(m.MeshID)
	if err != nil {
		return fmt.Errorf("the broker of this mesh keeps no audit log")
	}
	w := &witness{dir: a.dir, meshID: meshID}
	if err := w.load(); err != nil {
		return err
	}
	if verify {
		return a.auditVerify(ctx, client, w)
	}
	rows, err := client.Audit(ctx, wire.AuditQuery{Last: int64(limit)})
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		first, err := audit.FromRow(meshID, rows[0])
		if err != nil {
			return err
		}
		if _, err := w.check(audit.Head{Seq: first.Seq - 1, Hash: first.Prev}, rows); err != nil {
			return err
		}
	}
	if err := w.save(ctx); err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(nonNil(rows))
	}
	out := [][]string{{"SEQ", "TIME", "KIND", "ACTOR", "DETAIL"}}
	for i := range rows {
		r := &rows[i]
		out = append(out, []string{strconv.FormatInt(r.Seq, 10), timeText(time.UnixMilli(r.At), time.Now()), r.Kind, r.Actor, string(r.Detail)})
	}
	return a.table(out)
}

func (a *app) auditVerify(ctx context.Context, client *peer.Client, w *witness) error {
	var head audit.Head
	for {
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
		return fmt.Errorf("the audit log was cut: entry %d was there before, now it ends at %d", w.known.Seq, head.Seq)
	}
	if err := w.save(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "The audit log is intact: %d entries, the newest has the hash %s.\n", head.Seq, head.Hash)
	return err
}

// witness remembers the newest entry that was seen of a mesh's log, so that a
// history that was written anew is found even if it is consistent.
type witness struct {
	dir    peer.Dir
	meshID wire.ID
	known  audit.Head // from the file
	newest audit.Head
}

// seenHead is a head in the file, by mesh id.
type seenHead struct {
	Seq  int64    `json:"seq"`
	Hash wire.Key `json:"hash"` // 64 hex, as keys are
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
		return nil, fmt.Errorf("read what was seen of audit logs: %w", err)
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

// check verifies rows that follow head, and that what was seen before is still so.
func (w *witness) check(head audit.Head, rows []wire.AuditRow) (audit.Head, error) {
	entries := make([]audit.Entry, len(rows))
	for i := range rows {
		e, err := audit.FromRow(w.meshID, rows[i])
		if err != nil {
			return head, err
		}
		if e.Seq == w.known.Seq && e.Hash != w.known.Hash {
			return head, fmt.Errorf("the audit log was rewritten: entry %d is not the one that was seen before", e.Seq)
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
