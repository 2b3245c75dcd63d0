package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Node is one start of a broker that shares the database with others.
type Node struct {
	ID        int64  // random
	Address   string // where other nodes reach its listener, as host:port; "": it has the database alone
	PublicKey []byte // proves who listens there; its form is up to the relay
	Version   string // of the program
	Host      string
	PID       int
	Schema    int // the newest version of the database's schema that it knows
	Started   time.Time
	Live      bool // its lease runs
	Draining  bool // it gives its meshes away and gets no more
	Elsewhere bool // the same, since its address leads to something else, or to nothing, or is unproven
	ClockOff  bool // the same, since its clock is wrong
	// ClockAhead is how far its clock is ahead of the database's; negative if it is behind.
	ClockAhead time.Duration
	Meshes     int   // how many it owns
	Renewals   int64 // of its lease
}

// Takes reports whether the node gets meshes.
func (n Node) Takes() bool {
	return n.Live && !n.Draining && !n.Elsewhere && !n.ClockOff && n.Address != ""
}

// String describes the node for people.
func (n Node) String() string {
	return fmt.Sprintf("process %d on host %s, started %s", n.PID, n.Host, n.Started.UTC().Format(time.RFC3339))
}

// Clock says for people how the clock of a machine differs from the database's.
func Clock(ahead time.Duration) string {
	if ahead < 0 {
		return fmt.Sprintf("%s behind", -ahead.Round(time.Second))
	}
	return fmt.Sprintf("%s ahead", ahead.Round(time.Second))
}

// Self is what a node publishes about itself when it joins the cluster.
type Self struct {
	Address   string
	PublicKey []byte
	Version   string
	Lease     time.Duration // after which others take its meshes, if it is silent; 0 means 3 s
	// Unproven says that other nodes may not reach the address. If one of them gets meshes, the node
	// joins as if its address led elsewhere; see Store.Elsewhere.
	Unproven bool
}

// Store keeps nodes and owners. storage/postgres implements it. The store is itself a node:
// it joins and renews its lease by itself.
type Store interface {
	// Self returns the node that the store has joined as, or false if it is none.
	Self() (id int64, ok bool)
	// Nodes lists the nodes in the order of their start.
	Nodes(ctx context.Context) ([]Node, error)
	// Owner returns the id of the node that owns a mesh, or false if there is none whose
	// lease runs.
	Owner(ctx context.Context, mesh wire.ID) (node int64, ok bool, err error)
	// Assign makes a node the owner of a mesh, unless the mesh has an owner. It returns the
	// owner, or false if there is none whose lease runs: the node is gone, draining or
	// without a lease, or another one owned the mesh when it died. It returns ErrNoMesh if
	// the database has no such mesh. A node that begins to
	// serve a mesh calls it for itself, also if the mesh is its own already.
	Assign(ctx context.Context, mesh wire.ID, node int64) (owner int64, ok bool, err error)
	// Release gives up meshes that this node owns. It waits for this node's transactions,
	// so that nothing is written to the meshes afterwards. A mesh that an operator moves
	// then belongs to the node that is to have it, if that one can get meshes.
	Release(ctx context.Context, meshes []wire.ID) error
	// Owned returns the meshes that this node has owned for at least a given time.
	Owned(ctx context.Context, since time.Duration) ([]wire.ID, error)
	// Neglected returns meshes that no node owns and in which deliveries of messages wait
	// that were created before a time; at most limit.
	Neglected(ctx context.Context, before time.Time, limit int) ([]wire.ID, error)
	// Drain marks this node: it gets no more meshes.
	Drain(ctx context.Context) error
	// Elsewhere says whether this node's address leads to something else, or to nothing, or is
	// unproven. While it is so, the node gets no more meshes. Others soon learn of it.
	Elsewhere(is bool)
	// ClockAhead returns how far this node's clock is ahead of the database's, or negative if
	// it is behind, while that keeps the node from getting meshes; otherwise 0.
	ClockAhead() time.Duration
	// Draining reports whether this node is to give all of its meshes away: it was marked,
	// its address leads elsewhere or is unproven, or its clock is wrong. The answer may be out
	// of date by about a second.
	Draining() bool
	// Asked returns the meshes of this node that it is to give away: all if it drains, else
	// those that an operator moves to other nodes. The answer may be out of date like that
	// of Draining.
	Asked(ctx context.Context) ([]wire.ID, error)
	// Watch returns a channel that is closed at the next change of nodes or owners, or
	// after about a second without one.
	Watch() <-chan struct{}
}
