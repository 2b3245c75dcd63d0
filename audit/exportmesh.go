package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// ExportMesh writes the log of a mesh from the store: the checkpoint of where it begins, if the
// entries before were pruned; the entries from since on; and a checkpoint of the newest of them. It
// returns how many entries it has written. It verifies the chain on the way: the error is a
// *BadEntry, or wraps one of the store or of the writer. The broker may append entries meanwhile.
func (x *Exporter) ExportMesh(ctx context.Context, store Store, meshID wire.ID, since time.Time) (entries int, err error) {
	key, err := store.AuditKey(ctx, Key{})
	if err != nil {
		return 0, err
	}
	head, err := Base(ctx, store, meshID)
	if err != nil {
		return 0, err
	}
	if head.Seq > 0 && since.IsZero() {
		if err := x.Checkpoint(meshID, key.Verifier(meshID), key.Checkpoint(meshID, head)); err != nil {
			return 0, err
		}
	}
	for {
		page, err := store.AuditEntries(ctx, meshID, head.Seq, verifyPage)
		if err != nil {
			return entries, fmt.Errorf("read audit log of mesh %s: %w", meshID, err)
		}
		if len(page) == 0 {
			break
		}
		before := head.Seq
		var bad error
		head, bad = Verify(meshID, head, page)
		for _, e := range page[:head.Seq-before] { // the good ones
			if e.At.Before(since) {
				continue
			}
			if err := x.Entry(e); err != nil {
				return entries, err
			}
			entries++
		}
		if bad != nil {
			return entries, bad
		}
	}
	if entries == 0 || key.IsZero() { // no broker with checkpoints has run yet
		return entries, nil
	}
	return entries, x.Checkpoint(meshID, key.Verifier(meshID), key.Checkpoint(meshID, head))
}
