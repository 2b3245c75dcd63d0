package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/wire"
)

// Reason says what is wrong with a chain at some entry.
type Reason string

// The reasons, in the order in which Verify and VerifyMesh check them. They complete
// the sentence "entry 5 is …".
const (
	Missing     Reason = "missing"                                      // there are later entries
	OutOfOrder  Reason = "out of order"                                 // an earlier entry has the same or a higher number
	Altered     Reason = "altered: its content doesn't match its hash"  // content includes number, mesh and link
	Unlinked    Reason = "not linked to the previous entry"             // somebody replaced one of the two
	TailMissing Reason = "missing: the log is recorded as ending later" // with all later entries
	BeyondHead  Reason = "added after the recorded end of the log"
	HeadAltered Reason = "not the entry that is recorded as the end of the log"
)

// BadEntry is the error for the first entry of a mesh's chain that was tampered with.
type BadEntry struct {
	MeshID wire.ID
	Seq    int64
	Reason Reason
}

// Error names the mesh, the entry and the reason.
func (b *BadEntry) Error() string {
	return fmt.Sprintf("audit log of mesh %s: entry %d is %s", b.MeshID, b.Seq, b.Reason)
}

// Verify checks that the entries, in this order, continue the mesh's chain after head,
// and returns the new head. The error is a *BadEntry. The zero Head checks from the
// start of the chain. To check a part of a chain, pass {Seq - 1, Prev} of its first
// entry: this proves everything except that the part belongs where it claims to.
func Verify(meshID wire.ID, head Head, entries []Entry) (Head, error) {
	for i := range entries {
		e := &entries[i]
		bad := &BadEntry{MeshID: meshID, Seq: e.Seq}
		switch {
		case e.Seq > head.Seq+1:
			bad.Seq, bad.Reason = head.Seq+1, Missing
		case e.Seq <= head.Seq:
			bad.Reason = OutOfOrder
		case e.MeshID != meshID || e.hash() != e.Hash:
			bad.Reason = Altered
		case e.Prev != head.Hash:
			bad.Reason = Unlinked
		default:
			head = Head{Seq: e.Seq, Hash: e.Hash}
			continue
		}
		return head, bad
	}
	return head, nil
}

// Report describes an intact chain.
type Report struct {
	MeshID wire.ID
	Base   Head // the entries begin after it; zero if none were pruned
	Head   Head
	// Restores are the entries of kind LogRestored. The log does not have what happened
	// between the entry before each and the restore.
	Restores []Entry
}

// verifyPage is the number of entries in memory at a time.
const verifyPage = 1000

// VerifyMesh checks the whole chain of a mesh against its recorded head. The error is a
// *BadEntry or wraps an error of the Store. The broker may append and prune entries
// meanwhile; VerifyMesh ends when it has caught up. On error, the report's head is the last good
// entry.
//
// If the first entries were pruned, the chain begins at the checkpoint that the broker
// signed then. Without a valid one, the first entry counts as missing.
func VerifyMesh(ctx context.Context, store Store, meshID wire.ID) (Report, error) {
	report := Report{MeshID: meshID}
	base, err := Base(ctx, store, meshID)
	if err != nil {
		return report, err
	}
	report.Base, report.Head = base, base
	for {
		// Read the head before the page: an entry and its head are committed in one
		// transaction, so the page contains at least the entries up to this head.
		recorded, err := store.AuditHead(ctx, meshID)
		if err != nil {
			return report, fmt.Errorf("read audit head of mesh %s: %w", meshID, err)
		}
		page, err := store.AuditEntries(ctx, meshID, report.Head.Seq, verifyPage)
		if err != nil {
			return report, fmt.Errorf("read audit log of mesh %s: %w", meshID, err)
		}
		if len(page) == 0 {
			err = checkHead(meshID, report.Head, recorded)
			if base, ok := overtaken(ctx, store, meshID, report.Head, err); ok {
				report.Base, report.Head = base, base
				continue
			}
			return report, err
		}
		before := report.Head.Seq
		report.Head, err = Verify(meshID, report.Head, page)
		for _, e := range page[:report.Head.Seq-before] { // the good ones
			if e.Kind == LogRestored {
				report.Restores = append(report.Restores, e)
			}
		}
		if base, ok := overtaken(ctx, store, meshID, report.Head, err); ok {
			report.Base, report.Head = base, base
		} else if err != nil {
			return report, err
		}
	}
}

// overtaken reports whether the entry after head is missing because the broker has pruned the
// log since head was read, and where the log begins now. err is what the verification found.
func overtaken(ctx context.Context, store Store, meshID wire.ID, head Head, err error) (base Head, ok bool) {
	var bad *BadEntry
	if !errors.As(err, &bad) || bad.Reason != Missing && bad.Reason != TailMissing {
		return Head{}, false
	}
	base, err = Base(ctx, store, meshID)
	return base, err == nil && base.Seq > head.Seq
}

// Base returns where the stored entries of a mesh begin: the head of the checkpoint that the
// broker signed when it pruned the log, or zero. A checkpoint that the broker's key has not
// signed counts as none.
func Base(ctx context.Context, store Store, meshID wire.ID) (Head, error) {
	first, err := store.AuditEntries(ctx, meshID, 0, 1)
	if err != nil {
		return Head{}, fmt.Errorf("read audit log of mesh %s: %w", meshID, err)
	}
	if len(first) == 1 && first[0].Seq == 1 {
		return Head{}, nil // nothing is missing yet: older schemas have no checkpoints
	}
	signed, err := store.AuditPruned(ctx, meshID)
	if err != nil || signed == "" {
		return Head{}, err
	}
	key, err := store.AuditKey(ctx, Key{})
	if err != nil || key.IsZero() {
		return Head{}, err
	}
	base, err := OpenCheckpoint(key.Verifier(meshID), meshID, signed)
	if err != nil {
		return Head{}, nil //nolint:nilerr // the first entry is missing then
	}
	return base, nil
}

// checkHead compares the end of a chain with the recorded head.
func checkHead(meshID wire.ID, end, recorded Head) error {
	switch {
	case end.Seq < recorded.Seq:
		return &BadEntry{meshID, end.Seq + 1, TailMissing}
	case end.Seq > recorded.Seq:
		return &BadEntry{meshID, recorded.Seq + 1, BeyondHead}
	case end.Hash != recorded.Hash:
		return &BadEntry{meshID, end.Seq, HeadAltered}
	}
	return nil
}
