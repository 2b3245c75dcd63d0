package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	auditKey      = `SELECT seed FROM audit_key`
	putAuditKey   = `INSERT INTO audit_key (id, seed) VALUES (1, ?) ON CONFLICT DO NOTHING`
	auditRestores = `SELECT announcement FROM audit_restores WHERE mesh_id = ? ORDER BY at DESC LIMIT ?`
	addRestore    = `INSERT INTO audit_restores (mesh_id, at, announcement) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET announcement = excluded.announcement`
	auditPruned = `SELECT checkpoint FROM audit_pruned WHERE mesh_id = ?`
	putPruned   = `INSERT INTO audit_pruned (mesh_id, seq, checkpoint) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET seq = excluded.seq, checkpoint = excluded.checkpoint WHERE excluded.seq > seq`
	pruneEntries = `DELETE FROM audit_entries WHERE mesh_id = ?1 AND seq IN (
		SELECT seq FROM audit_entries WHERE mesh_id = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)`
)

// AuditKey implements audit.Store.
func (s *Store) AuditKey(ctx context.Context, fresh audit.Key) (audit.Key, error) {
	var seed []byte
	err := s.read.row(ctx, auditKey).Scan(&seed)
	if errors.Is(err, sql.ErrNoRows) {
		if fresh.IsZero() {
			return fresh, nil
		}
		err = s.update(ctx, func(t tx) error {
			if _, err := t.exec(putAuditKey, fresh.Seed()); err != nil {
				return err
			}
			return t.row(auditKey).Scan(&seed)
		})
	}
	if err != nil {
		return audit.Key{}, wrap("read the key of the audit logs", err)
	}
	return audit.ParseKey(seed)
}

// AuditRestores implements audit.Store.
func (s *Store) AuditRestores(ctx context.Context, meshID wire.ID, limit int) ([]string, error) {
	rows, err := s.read.query(ctx, auditRestores, meshID[:], max(limit, 0))
	list, err := collect(rows, err, column.ScanText)
	slices.Reverse(list)
	return list, wrap("read the announcements of restores", err)
}

// AddAuditRestore implements audit.Store.
func (s *Store) AddAuditRestore(ctx context.Context, meshID wire.ID, at time.Time, announcement string) error {
	err := s.update(ctx, func(t tx) error {
		_, err := t.exec(addRestore, meshID[:], at.UnixMilli(), announcement)
		return err
	})
	return wrap("store the announcement of a restore", err)
}

// AuditPruned implements audit.Store.
func (s *Store) AuditPruned(ctx context.Context, meshID wire.ID) (checkpoint string, err error) {
	err = s.read.row(ctx, auditPruned, meshID[:]).Scan(&checkpoint)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return checkpoint, wrap("read where the audit log begins", err)
}

// PruneAudit implements audit.Store.
func (s *Store) PruneAudit(ctx context.Context, meshID wire.ID, upTo int64, checkpoint string, limit int) (int, error) {
	var n int64
	err := s.update(ctx, func(t tx) error {
		_, err := t.exec(putPruned, meshID[:], upTo, checkpoint)
		if err == nil {
			n, err = t.exec(pruneEntries, meshID[:], upTo, max(limit, 0))
		}
		return err
	})
	return int(n), wrap("prune the audit log", err)
}
