package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/wire"
)

// Reason says what is wrong with a chain at some entry.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Missing     Reason = "missing"                                          // there is no such entry, but there are later ones
	OutOfOrder  Reason = "out of order"                                     // its number was there before
	Altered     Reason = "altered: its content does not match its hash"     // or its number, mesh or link
	Unlinked    Reason = "not linked to the entry before it"                // one of the two was replaced
	TailMissing Reason = "missing: the recorded end of the log comes later" // this and all after it
	BeyondHead  Reason = "added after the recorded end of the log"
	HeadAltered Reason = "not the entry that was recorded as the end of the log"
)

// BadEntry is the error about the first entry of a mesh's chain that is not as
// it was written.
type BadEntry struct {
	MeshID wire.ID
	Seq    int64
	Reason Reason
}

// Error names the mesh, the entry and the reason.
func (b *BadEntry) Error() string {
	return fmt.Sprintf("audit log of mesh %s: entry %d is %s", b.MeshID, b.Seq, b.Reason)
}

// Verify checks that the entries, in this order, continue the mesh's chain from
// head, and returns the new head; it fails with *BadEntry. The zero Head checks
// from the chain's start. For a part of a chain give {Seq - 1, Prev} of its first
// entry: then all is proven but that the part belongs where it claims.
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

// Report is about a chain that was found intact.
type Report struct {
	MeshID wire.ID
	Head   Head // Head.Seq is the number of entries
}

// verifyPage is how many entries are in memory at a time.
const verifyPage = 1000

// VerifyMesh checks the whole chain of a mesh against its recorded head; it fails
// with *BadEntry, or with what the Store fails with. Entries may be appended
// meanwhile: it ends when it has caught up. With an error, the report's head is
// the last entry that is good.
func VerifyMesh(ctx context.Context, store Store, meshID wire.ID) (Report, error) {
	report := Report{MeshID: meshID}
	for {
		// The head is read before the page. An entry comes in one transaction with
		// the head that names it, so a page that is empty lacks nothing but what
		// this head promised.
		recorded, err := store.AuditHead(ctx, meshID)
		if err != nil {
			return report, fmt.Errorf("read audit head of mesh %s: %w", meshID, err)
		}
		page, err := store.AuditEntries(ctx, meshID, report.Head.Seq, verifyPage)
		if err != nil {
			return report, fmt.Errorf("read audit log of mesh %s: %w", meshID, err)
		}
		if len(page) == 0 {
			return report, checkHead(meshID, report.Head, recorded)
		}
		if report.Head, err = Verify(meshID, report.Head, page); err != nil {
			return report, err
		}
	}
}

// checkHead compares the end of a chain with the head that was recorded.
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

// VerifyAll checks the chains of all meshes. The reports are of the intact ones;
// the error joins the *BadEntry of each of the others. What the Store fails with
// ends the check.
func VerifyAll(ctx context.Context, store Store) ([]Report, error) {
	meshes, err := store.AuditMeshes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list audit logs: %w", err)
	}
	var reports []Report
	var bad []error
	for _, id := range meshes {
		report, err := VerifyMesh(ctx, store, id)
		var entry *BadEntry
		switch {
		case errors.As(err, &entry):
			bad = append(bad, err)
		case err != nil:
			return reports, errors.Join(append(bad, err)...)
		default:
			reports = append(reports, report)
		}
	}
	return reports, errors.Join(bad...)
}
