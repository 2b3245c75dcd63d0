package sqlite

import (
	"context"
	"database/sql"
	"errors"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/plan"
	"github.com/claudemesh/claudemesh/wire"
)

// auditLogs finds the meshes that have entries by skipping from one mesh to the next in
// the key, instead of reading every entry.
const auditLogs = `WITH RECURSIVE chain (mesh_id) AS (
		SELECT min(mesh_id) FROM audit_entries
		UNION ALL
		SELECT (SELECT min(e.mesh_id) FROM audit_entries e WHERE e.mesh_id > chain.mesh_id)
		FROM chain WHERE chain.mesh_id IS NOT NULL)
	SELECT l.mesh_id, coalesce(m.slug, ''), coalesce(h.seq, 0), h.hash FROM (
		SELECT mesh_id FROM chain WHERE mesh_id IS NOT NULL UNION SELECT mesh_id FROM audit_heads) l
	LEFT JOIN audit_heads h ON h.mesh_id = l.mesh_id LEFT JOIN meshes m ON m.id = l.mesh_id ORDER BY l.mesh_id`

// AuditLogs implements audit.Store.
func (s *Store) AuditLogs(ctx context.Context) ([]audit.Log, error) {
	rows, err := s.read.query(ctx, auditLogs)
	list, err := collect(rows, err, column.ScanLog)
	return list, wrap("list audit logs", err)
}

// AuditHead implements audit.Store and journal.Store.
func (s *Store) AuditHead(ctx context.Context, meshID wire.ID) (audit.Head, error) {
	var h audit.Head
	err := s.read.row(ctx, `SELECT seq, hash FROM audit_heads WHERE mesh_id = ?`, meshID[:]).
		Scan(&h.Seq, column.IntoBytes(h.Hash[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return audit.Head{}, nil
	}
	return h, wrap("read audit head", err)
}

// AuditEntries implements audit.Store.
func (s *Store) AuditEntries(ctx context.Context, meshID wire.ID, after int64, limit int) ([]audit.Entry, error) {
	const query = `SELECT ` + column.EntryColumns + ` FROM audit_entries WHERE mesh_id = ? AND seq > ? ORDER BY seq LIMIT ?`
	rows, err := s.read.query(ctx, query, meshID[:], after, max(limit, 0))
	list, err := collect(rows, err, column.ScanEntry)
	return list, wrap("read audit entries", err)
}

var (
	insertEntries = newBulkOf(`INSERT INTO audit_entries (`+column.EntryColumns+`) VALUES `,
		`(?,?,?,coalesce(?,'`+string(audit.Routed)+`'),?,?,?,?)`, ``)
	putHeads = newBulk(`INSERT INTO audit_heads (mesh_id, seq, hash) VALUES `, 3,
		` ON CONFLICT (mesh_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash`)
)

func (t tx) appendAudit(entries []audit.Entry) error {
	err := t.bulk(insertEntries, len(entries), func(args []any, i int) []any {
		e := &entries[i]
		return append(args, e.MeshID[:], e.Seq, e.At.UnixMilli(), rare(string(e.Kind), string(audit.Routed)), column.Text(e.Actor),
			column.Text(e.Detail), e.Prev[:], e.Hash[:])
	})
	if violated(err, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) {
		return journal.ErrForked
	}
	if err != nil {
		return err
	}
	heads := plan.Heads(entries)
	return t.bulk(putHeads, len(heads), func(args []any, i int) []any {
		return append(args, heads[i].MeshID[:], heads[i].Seq, heads[i].Hash[:])
	})
}
