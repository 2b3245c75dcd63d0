package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/plan"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// auditLogs finds the meshes that have entries by skipping from one mesh to the next
	// in the key, instead of reading every entry.
	auditLogs = `WITH RECURSIVE chain (mesh_id) AS (
			(SELECT mesh_id FROM claudemesh.audit_entries ORDER BY mesh_id LIMIT 1)
			UNION ALL
			SELECT (SELECT e.mesh_id FROM claudemesh.audit_entries e WHERE e.mesh_id > chain.mesh_id ORDER BY e.mesh_id LIMIT 1)
			FROM chain WHERE chain.mesh_id IS NOT NULL)
		SELECT l.mesh_id, coalesce(m.slug, ''), coalesce(h.seq, 0), h.hash FROM (
			SELECT mesh_id FROM chain WHERE mesh_id IS NOT NULL UNION SELECT mesh_id FROM claudemesh.audit_heads) l
		LEFT JOIN claudemesh.audit_heads h ON h.mesh_id = l.mesh_id
		LEFT JOIN claudemesh.meshes m ON m.id = l.mesh_id ORDER BY l.mesh_id`
	auditHead    = `SELECT seq, hash FROM claudemesh.audit_heads WHERE mesh_id = $1`
	auditEntries = `SELECT ` + column.EntryColumns + ` FROM claudemesh.audit_entries
		WHERE mesh_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`
	insertEntries = `INSERT INTO claudemesh.audit_entries (` + column.EntryColumns + `)
		SELECT unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::text[]), unnest($5::text[]),
			unnest($6::text[]), unnest($7::bytea[]), unnest($8::bytea[])`
	putHeads = `INSERT INTO claudemesh.audit_heads (mesh_id, seq, hash)
		SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[])
		ON CONFLICT (mesh_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash`
)

// entriesKey is the constraint that a forked chain violates.
const entriesKey = "audit_entries_pkey"

// AuditLogs implements audit.Store.
func (s *Store) AuditLogs(ctx context.Context) ([]audit.Log, error) {
	list, err := collect(ctx, s, column.ScanLog, auditLogs)
	return list, wrap("list audit logs", err)
}

// AuditHead implements audit.Store and journal.Store.
func (s *Store) AuditHead(ctx context.Context, meshID wire.ID) (h audit.Head, err error) {
	err = s.row(ctx, func(r pgx.Row) error { return r.Scan(&h.Seq, column.IntoBytes(h.Hash[:])) }, auditHead, uuid(meshID))
	if errors.Is(err, pgx.ErrNoRows) {
		return audit.Head{}, nil
	}
	return h, wrap("read audit head", err)
}

// AuditEntries implements audit.Store.
func (s *Store) AuditEntries(ctx context.Context, meshID wire.ID, after int64, limit int) ([]audit.Entry, error) {
	list, err := collect(ctx, s, column.ScanEntry, auditEntries, uuid(meshID), after, max(limit, 0))
	return list, wrap("read audit entries", err)
}

// queueAudit adds the statements that append entries.
func queueAudit(b *pgx.Batch, entries []audit.Entry) {
	if len(entries) == 0 {
		return
	}
	type entry = *audit.Entry
	list := make([]entry, len(entries))
	for i := range entries {
		list[i] = &entries[i]
	}
	b.Queue(insertEntries,
		uuids(list, func(e entry) wire.ID { return e.MeshID }),
		bigints(list, func(e entry) int64 { return e.Seq }),
		bigints(list, func(e entry) int64 { return e.At.UnixMilli() }),
		texts(list, func(e entry) string { return string(e.Kind) }),
		texts(list, func(e entry) string { return e.Actor }),
		texts(list, func(e entry) string { return e.Detail }),
		blobs(list, func(e entry) []byte { return e.Prev[:] }),
		blobs(list, func(e entry) []byte { return e.Hash[:] }))
	heads := plan.Heads(entries)
	b.Queue(putHeads,
		uuids(heads, func(e entry) wire.ID { return e.MeshID }),
		bigints(heads, func(e entry) int64 { return e.Seq }),
		blobs(heads, func(e entry) []byte { return e.Hash[:] }))
}
