package broker

import (
	"context"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
)

// Storage is everything the broker keeps. storage/sqlite and storage/postgres
// implement it.
type Storage interface {
	mesh.Store
	presence.Store
	queue.Store
	audit.Store
	journal.Store

	// Migrate brings the schema up to date, under a lock. It returns a
	// *storage.NewerSchemaError when the database belongs to a newer broker.
	Migrate(ctx context.Context) error
	// Claim makes this process the database's only broker until Close, or
	// returns storage.ErrInUse.
	Claim(ctx context.Context) error
	// Claimed returns nil as long as no other broker can have the storage, or before Claim.
	// It returns storage.ErrSuspended while another one may take it at any moment, and an
	// error for which storage.IsLost is true once the storage is lost. It takes no time.
	Claimed() error
	// Ping (of journal.Store) returns storage.ErrInUse when the claim was lost;
	// storage.ReasonOf gives the reason of any other error.

	// Depth returns what waits in the queues of all meshes. It may take long.
	Depth(ctx context.Context) (queue.Depth, error)

	// Close releases everything. It may be called at any time, once.
	Close() error
}
