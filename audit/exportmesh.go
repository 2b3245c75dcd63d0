package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// ErrPruned says that the broker has deleted entries before they were exported.
var ErrPruned = errors.New("the broker has deleted old entries meanwhile; export again")

// ExportMesh writes the log of a mesh from the store: the checkpoint of where it begins, if the
// entries before were pruned; the entries from since on; and a checkpoint of the newest of them. It
// returns how many entries it has written. It verifies the chain on the way: the error is a
// *BadEntry or ErrPruned, or wraps one of the store or of the writer. The broker may append entries meanwhile.
func (x *Exporter) ExportMesh(ctx context.Context, store Store, meshID wire.ID, since time.Time) (entries int, err error) {
	key, err := store.AuditKey(ctx, Key{})
	if err != nil {
		return 0, err
	}
	var head Head
	begin := func(base Head) error {
		if head = base; base.Seq == 0 || !since.IsZero() {
			return nil
		}
		return x.Checkpoint(meshID, key.Verifier(meshID), key.Checkpoint(meshID, base))
	}
	base, err := Base(ctx, store, meshID)
	if err == nil {
		err = begin(base)
	}
	if err != nil {
		return 0, err
	}
	for {
		// Read the head before the page, as VerifyMesh does.
		recorded, err := store.AuditHead(ctx, meshID)
		if err != nil {
			return entries, fmt.Errorf("read audit head of mesh %s: %w", meshID, err)
		}
		page, err := store.AuditEntries(ctx, meshID, head.Seq, verifyPage)
		if err != nil {
			return entries, fmt.Errorf("read audit log of mesh %s: %w", meshID, err)
		}
		before := head.Seq
		var bad error
		if len(page) > 0 {
			head, bad = Verify(meshID, head, page)
		} else if bad = checkHead(meshID, head, recorded); bad == nil {
			break
		}
		if base, ok := overtaken(ctx, store, meshID, head, bad); ok {
			if entries > 0 {
				return entries, ErrPruned
			}
			if err := begin(base); err != nil {
				return 0, err
			}
			continue
		}
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
