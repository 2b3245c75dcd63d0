package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// pruneEvery is the pause between searches for audit entries that are too old.
const pruneEvery = time.Hour

// pruneLoop deletes audit entries that are older than AuditRetention, until ctx ends.
func (b *Broker) pruneLoop(ctx context.Context) {
	for {
		if err := b.pruneAudit(ctx, time.Now()); err != nil && ctx.Err() == nil {
			b.storageFailed("sweep", err)
			b.log.Warn("deleting old entries of the audit log failed; the broker tries again", zap.Error(err), zap.Duration("in", pruneEvery))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pruneEvery):
		}
	}
}

// pruneAudit deletes what is too old from all logs. It goes on after a failure, unless the
// storage is away.
func (b *Broker) pruneAudit(ctx context.Context, now time.Time) error {
	retention := b.Settings().AuditRetention
	if retention >= keepAudit || b.isSuspended() {
		return nil
	}
	logs, err := b.storage.AuditLogs(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range logs {
		n, err := b.pruneMesh(ctx, l.Mesh, now.Add(-retention))
		if n > 0 {
			b.log.Info("deleted old entries of an audit log", zap.Stringer("mesh", l.Mesh), zap.Int("entries", n))
		}
		errs = append(errs, err)
		if ctx.Err() != nil || errors.Is(err, storage.ErrInUse) || b.journal.Down() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// pruneMesh deletes the entries from before a time, a few at a time, and returns how many. The
// checkpoint of the last of them stays, so that the rest can be verified. If the clock went back,
// an entry may be older than one before it; it stays until that one is deleted, too.
func (b *Broker) pruneMesh(ctx context.Context, id wire.ID, before time.Time) (deleted int, err error) {
	for ctx.Err() == nil {
		n, more, err := b.pruneStep(ctx, id, before)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("delete old audit entries of mesh %s: %w", id, err)
		}
		if !more {
			break
		}
	}
	return deleted, nil
}

// pruneStep deletes one page of old entries, and reports whether there may be more.
func (b *Broker) pruneStep(ctx context.Context, id wire.ID, before time.Time) (deleted int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	page, err := b.storage.AuditEntries(ctx, id, 0, sweepLimit)
	if err != nil {
		return 0, false, err
	}
	old := 0
	for old < len(page) && page[old].At.Before(before) {
		old++
	}
	if old == 0 {
		return 0, false, nil
	}
	if b.cluster != nil {
		if err := b.cluster.Own(ctx, id); isElsewhere(err) {
			return 0, false, nil // its owner deletes them
		} else if err != nil {
			return 0, false, err
		}
	}
	last := page[old-1]
	note := b.auditKey.Load().Checkpoint(id, audit.Head{Seq: last.Seq, Hash: last.Hash})
	deleted, err = b.storage.PruneAudit(ctx, id, last.Seq, note, sweepLimit)
	return deleted, old == len(page), err
}
