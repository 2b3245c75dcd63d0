package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	auditKey      = `SELECT seed FROM claudemesh.audit_key`
	putAuditKey   = `INSERT INTO claudemesh.audit_key (id, seed) VALUES (1, $1) ON CONFLICT DO NOTHING`
	auditRestores = `SELECT announcement FROM claudemesh.audit_restores WHERE mesh_id = $1 ORDER BY at DESC LIMIT $2`
	addRestore    = `INSERT INTO claudemesh.audit_restores (mesh_id, at, announcement) VALUES ($1, $2, $3)
		ON CONFLICT (mesh_id, at) DO UPDATE SET announcement = excluded.announcement`
	auditPruned = `SELECT checkpoint FROM claudemesh.audit_pruned WHERE mesh_id = $1`
	putPruned   = `INSERT INTO claudemesh.audit_pruned AS p (mesh_id, seq, checkpoint) VALUES ($1, $2, $3)
		ON CONFLICT (mesh_id) DO UPDATE SET seq = excluded.seq, checkpoint = excluded.checkpoint WHERE excluded.seq > p.seq`
	pruneEntries = `DELETE FROM claudemesh.audit_entries WHERE mesh_id = $1 AND seq = ANY (ARRAY (
		SELECT seq FROM claudemesh.audit_entries WHERE mesh_id = $1 AND seq <= $2 ORDER BY seq LIMIT $3))`
)

// AuditKey implements audit.Store.
func (s *Store) AuditKey(ctx context.Context, fresh audit.Key) (audit.Key, error) {
	var seed []byte
	read := func() error {
		return s.row(ctx, func(r pgx.Row) error { return r.Scan(&seed) }, auditKey)
	}
	err := read()
	if errors.Is(err, pgx.ErrNoRows) {
		if fresh.IsZero() {
			return fresh, nil
		}
		if _, err = s.exec(ctx, nil, putAuditKey, fresh.Seed()); err == nil {
			err = read()
		}
	}
	if err != nil {
		return audit.Key{}, wrap("read the key of the audit logs", err)
	}
	return audit.ParseKey(seed)
}

// AuditRestores implements audit.Store.
func (s *Store) AuditRestores(ctx context.Context, meshID wire.ID, limit int) ([]string, error) {
	list, err := collect(ctx, s, column.ScanText, auditRestores, uuid(meshID), max(limit, 0))
	slices.Reverse(list)
	return list, wrap("read the announcements of restores", err)
}

// AddAuditRestore implements audit.Store.
func (s *Store) AddAuditRestore(ctx context.Context, meshID wire.ID, at time.Time, announcement string) error {
	_, err := s.exec(ctx, []wire.ID{meshID}, addRestore, uuid(meshID), at.UnixMilli(), announcement)
	return wrap("store the announcement of a restore", err)
}

// AuditPruned implements audit.Store.
func (s *Store) AuditPruned(ctx context.Context, meshID wire.ID) (checkpoint string, err error) {
	err = s.row(ctx, func(r pgx.Row) error { return r.Scan(&checkpoint) }, auditPruned, uuid(meshID))
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return checkpoint, wrap("read where the audit log begins", err)
}

// PruneAudit implements audit.Store.
func (s *Store) PruneAudit(ctx context.Context, meshID wire.ID, upTo int64, checkpoint string, limit int) (int, error) {
	ctx, done, err := s.exclusive(ctx)
	if err != nil {
		return 0, wrap("prune the audit log", err)
	}
	defer done()
	var n int64
	b := s.batch(meshID)
	b.Queue(putPruned, uuid(meshID), upTo, checkpoint)
	b.Queue(pruneEntries, uuid(meshID), upTo, max(limit, 0)).Exec(counting(&n))
	err = s.pool.SendBatch(ctx, b).Close()
	return int(n), wrap("prune the audit log", err)
}
