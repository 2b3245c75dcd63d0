package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// Batch is what one transaction writes. The order of the parts does not matter,
// except that Closed applies after Messages and Settled.
type Batch struct {
	// Messages are new. A message is left out, with its recipients, if its id or its (mesh,
	// sender member, client id) is stored already; it is then reported as a duplicate. A
	// message whose recipients are all Delivered is stored without its body.
	Messages []*queue.Accepted
	// Settled are deliveries that left Pending. Unknown ones, and those no longer Pending,
	// are ignored. A message without pending deliveries loses its body, here or in a later
	// sweep.
	Settled []queue.Settlement
	// Closed are mailboxes whose recipient can't come back. Their Pending deliveries become
	// Gone.
	Closed []queue.Closing
	// Presences are the newest records, one per identity.
	Presences []presence.Record
	// Audit are new entries of any number of chains, in order.
	Audit []audit.Entry
	// Hellos were accepted. One that is stored already is ignored.
	Hellos []Hello
}

// Hello is a hello that was accepted, and must not be accepted again, not even by another
// broker process.
type Hello struct {
	Mesh      wire.ID
	Signature wire.Signature
	At        time.Time // when it was accepted, to the millisecond
}

// Duplicate says that a message was stored before, under another id.
type Duplicate struct {
	Index    int     // in Batch.Messages
	Original wire.ID // the id it was stored under
}

// Store commits batches.
type Store interface {
	// Commit writes the batch in one transaction, all or nothing, with a bounded
	// number of statements whatever the size of the batch. It returns
	// ErrForked if an audit entry's place in its chain is taken, and a *LostError if the
	// broker no longer owns some of the batch's meshes. In both cases it stores nothing.
	// Any other error means that the storage is unreachable; the batch may or may not have
	// been stored.
	Commit(ctx context.Context, b *Batch) ([]Duplicate, error)
	// Ping returns nil if a message could be stored now, else why not. It may write.
	Ping(ctx context.Context) error
	// AuditHead: see audit.Store.
	AuditHead(ctx context.Context, meshID wire.ID) (audit.Head, error)
	// Hellos returns those of a mesh accepted at or after since, oldest first.
	Hellos(ctx context.Context, mesh wire.ID, since time.Time) ([]Hello, error)
	// ForgetHellos deletes those accepted before t.
	ForgetHellos(ctx context.Context, t time.Time) error
}

// ErrForked is returned by Store.Commit if another writer has appended to a chain. Nothing
// of the batch is stored.
var ErrForked = errors.New("another writer has extended the audit chain")

// LostError reports that the broker does not own meshes that it wanted to write to: other
// brokers may. What the broker has in memory of these meshes is out of date.
type LostError struct {
	Meshes []wire.ID
}

func (e *LostError) Error() string {
	return fmt.Sprintf("this node does not own the meshes %v any more", e.Meshes)
}

// Meshes returns the meshes that the batch is about, each once.
func (b *Batch) Meshes() []wire.ID {
	seen := make(map[wire.ID]struct{}, 1)
	for _, m := range b.Messages {
		seen[m.MeshID] = struct{}{}
	}
	for i := range b.Settled {
		seen[b.Settled[i].Mesh] = struct{}{}
	}
	for i := range b.Closed {
		seen[b.Closed[i].Mailbox.Mesh] = struct{}{}
	}
	for i := range b.Presences {
		seen[b.Presences[i].MeshID] = struct{}{}
	}
	for i := range b.Audit {
		seen[b.Audit[i].MeshID] = struct{}{}
	}
	for i := range b.Hellos {
		seen[b.Hellos[i].Mesh] = struct{}{}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b wire.ID) int { return bytes.Compare(a[:], b[:]) })
}
