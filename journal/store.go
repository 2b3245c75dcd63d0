package journal

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// Batch is what one transaction writes. The order of the parts does not matter,
// except that Closed applies after Messages and Settled.
type Batch struct {
	// Messages are new. A message whose (mesh, sender member, client id) or whose id
	// is already stored is left out, recipients and all, and reported as a
	// duplicate. One whose recipients are all Delivered is stored without its body.
	Messages []*queue.Accepted
	// Settled are deliveries that left Pending; those unknown or no longer
	// Pending are passed over. A message that nobody waits for any more loses its
	// body, here or in a later sweep.
	Settled []queue.Settlement
	// Closed are mailboxes whose recipient can't come back: what is Pending in
	// them becomes Gone.
	Closed []queue.Closing
	// Presences are records in their newest form, one per identity.
	Presences []presence.Record
	// Audit are new links, in order, of any number of chains.
	Audit []audit.Entry
	// Hellos are remembered; one that is stored already is passed over.
	Hellos []Hello
}

// Hello is a hello that was accepted once and must not be again, not even by the
// next broker.
type Hello struct {
	Mesh      wire.ID
	Signature wire.Signature
	At        time.Time // when it was accepted, to the millisecond
}

// Duplicate says that a message had been stored before under another id.
type Duplicate struct {
	Index    int     // in Batch.Messages
	Original wire.ID // the id it was stored under
}

// Store commits batches.
type Store interface {
	// Commit writes the batch in one transaction, all or nothing, with a bounded
	// number of statements whatever the size of the batch. It returns
	// ErrForked when an audit entry's place in its chain is taken. Any other
	// error means that the storage is out of reach and that nothing is known
	// of the batch's fate.
	Commit(ctx context.Context, b *Batch) ([]Duplicate, error)
	// Ping tells whether a message could be stored now: nil, or why not. It may write.
	Ping(ctx context.Context) error
	// AuditHead: see audit.Store.
	AuditHead(ctx context.Context, meshID wire.ID) (audit.Head, error)
	// Hellos returns those of a mesh accepted at or after since, oldest first.
	Hellos(ctx context.Context, mesh wire.ID, since time.Time) ([]Hello, error)
	// ForgetHellos deletes those accepted before t.
	ForgetHellos(ctx context.Context, t time.Time) error
}

// ErrForked is returned by Store.Commit when somebody else has appended to a
// chain; nothing of the batch is stored.
var ErrForked = errors.New("audit chain was extended by somebody else")
