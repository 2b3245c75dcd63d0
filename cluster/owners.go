package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/claudemesh/claudemesh/wire"
)

var (
	// ErrNoOwner reports that no node owns a mesh and that none can get it now. It soon
	// may: a node may be handing the mesh over, or may have just died.
	ErrNoOwner = errors.New("no node of the cluster can take this mesh now")
	// ErrNoMesh reports that the database has no such mesh.
	ErrNoMesh = errors.New("there is no such mesh")
	// ErrSameAddress reports that a live node advertises the same address as one that wants to join.
	ErrSameAddress = errors.New("each node needs an address of its own")
)

const (
	// trustFor is how long an answer about the owner of a mesh, or about the nodes, is used
	// without asking the database again.
	trustFor = time.Second
	// strayAfter is how long a mesh may belong to this node before it counts as a stray if
	// its broker does not serve it. The socket for which it was assigned may be on its way.
	strayAfter = time.Minute
)

// Owners finds the owners of meshes, and keeps account of what this node serves. Make it
// with NewOwners.
type Owners struct {
	store Store
	asked singleflight.Group // the owner of a mesh, by its id; the nodes, by ""

	mu     sync.Mutex
	known  map[wire.ID]answer
	serves map[wire.ID]bool // the meshes for which Own has succeeded; true: being handed over
	losses uint64           // counts calls of Lost
	onLoss func([]wire.ID)  // static after OnLoss
	nodes  []Node
	asOf   time.Time // of nodes
}

// answer is what the database said about the owner of a mesh.
type answer struct {
	node int64
	at   time.Time
}

// NewOwners returns the owners as a store has them.
func NewOwners(store Store) *Owners {
	return &Owners{store: store, known: make(map[wire.ID]answer), serves: make(map[wire.ID]bool), onLoss: func([]wire.ID) {}}
}

// Self returns this node's id, or false while it isn't a node of the cluster: before it has
// joined, and after another node has removed it.
func (o *Owners) Self() (id int64, ok bool) { return o.store.Self() }

// Nodes returns the nodes in the order of their start, this one included, as the database
// has them now.
func (o *Owners) Nodes(ctx context.Context) ([]Node, error) {
	nodes, err := o.store.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nodes, o.asOf = slices.Clone(nodes), time.Now()
	return nodes, nil
}

// Watch returns a channel that is closed at the next change of nodes or owners, or after
// about a second without one, since notifications may be lost. Call it before looking.
func (o *Owners) Watch() <-chan struct{} { return o.store.Watch() }

// Owner returns the node that owns a mesh. If no node owns the mesh, Owner first gives it
// to the least loaded live node. local reports whether this node is the owner; then its
// broker serves the mesh.
//
// The answer may be out of date by a second. A node that is asked for a mesh that it does not own
// says so; then the caller calls Forget and asks again. After ErrNoOwner, wait for Watch before
// asking again; after ErrNoMesh, don't ask again.
func (o *Owners) Owner(ctx context.Context, mesh wire.ID) (owner Node, local bool, err error) {
	self, ok := o.store.Self()
	if !ok {
		return Node{}, false, ErrNoOwner
	}
	id, err := o.ownerOf(ctx, mesh)
	if err != nil {
		return Node{}, false, err
	}
	owner, err = o.node(ctx, id)
	return owner, id == self && err == nil, err
}

// ownerOf returns the id of a mesh's owner.
func (o *Owners) ownerOf(ctx context.Context, mesh wire.ID) (int64, error) {
	o.mu.Lock()
	leaves := o.serves[mesh]
	known, ok := o.known[mesh]
	o.mu.Unlock()
	if leaves {
		return 0, ErrNoOwner
	}
	if ok && time.Since(known.at) < trustFor {
		return known.node, nil
	}
	id, err := o.share(ctx, string(mesh[:]), func() (any, error) { return o.place(ctx, mesh) })
	if err != nil {
		return 0, err
	}
	return id.(int64), nil
}

// gaveUpError reports that the caller whose question others share has given up.
type gaveUpError struct{ error }

func (e *gaveUpError) Unwrap() error { return e.error }

// share asks a question of the database. Callers with the same key at the same time share the
// answer. If the caller who asks gives up, another one asks again.
func (o *Owners) share(ctx context.Context, key string, ask func() (any, error)) (any, error) {
	for {
		answer, err, _ := o.asked.Do(key, func() (any, error) {
			answer, err := ask()
			if err != nil && ctx.Err() != nil {
				err = &gaveUpError{err}
			}
			return answer, err
		})
		var gaveUp *gaveUpError
		if !errors.As(err, &gaveUp) || ctx.Err() != nil {
			return answer, err
		}
	}
}

// place asks the database for the owner of a mesh. If there is none, it chooses one.
func (o *Owners) place(ctx context.Context, mesh wire.ID) (int64, error) {
	served, losses := o.isServed(mesh)
	owner, ok, err := o.store.Owner(ctx, mesh)
	if self, _ := o.store.Self(); err == nil && served && (!ok || owner != self) {
		if served, now := o.isServed(mesh); served && losses == now { // it was ours all the time
			o.onLoss([]wire.ID{mesh})
			return 0, ErrNoOwner
		}
	}
	for try := 0; err == nil && !ok && try < 2; try++ { // the second time with nodes as they are now
		var chosen int64
		if chosen, err = o.choose(ctx, try > 0); err == nil {
			owner, ok, err = o.store.Assign(ctx, mesh, chosen)
		} else if errors.Is(err, ErrNoOwner) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the owner of mesh %s: %w", mesh, err)
	case !ok:
		return 0, ErrNoOwner
	}
	o.remember(mesh, owner)
	return owner, nil
}

// isServed reports whether the broker serves a mesh and does not give it away, and how many
// meshes it has given up so far.
func (o *Owners) isServed(mesh wire.ID) (served bool, losses uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	leaves, served := o.serves[mesh]
	return served && !leaves, o.losses
}

// choose returns the live node that owns the fewest meshes; of equals, this one, which
// saves a relay.
func (o *Owners) choose(ctx context.Context, afresh bool) (int64, error) {
	if err := o.refresh(ctx, afresh); err != nil {
		return 0, err
	}
	self, _ := o.store.Self()
	o.mu.Lock()
	defer o.mu.Unlock()
	var best *Node
	for i := range o.nodes {
		n := &o.nodes[i]
		if !n.Takes() {
			continue
		}
		if best == nil || n.Meshes < best.Meshes || n.Meshes == best.Meshes && n.ID == self {
			best = n
		}
	}
	if best == nil {
		return 0, ErrNoOwner
	}
	best.Meshes++ // until the nodes are read again
	return best.ID, nil
}

// node returns a node that lives.
func (o *Owners) node(ctx context.Context, id int64) (Node, error) {
	for _, afresh := range [...]bool{false, true} {
		if err := o.refresh(ctx, afresh); err != nil {
			return Node{}, err
		}
		o.mu.Lock()
		i := slices.IndexFunc(o.nodes, func(n Node) bool { return n.ID == id && n.Live })
		if i >= 0 {
			defer o.mu.Unlock()
			return o.nodes[i], nil
		}
		o.mu.Unlock()
	}
	return Node{}, ErrNoOwner
}

// refresh reads the nodes, if what is known of them is too old or must be new.
func (o *Owners) refresh(ctx context.Context, afresh bool) error {
	o.mu.Lock()
	fresh := !afresh && time.Since(o.asOf) < trustFor
	o.mu.Unlock()
	if fresh {
		return nil
	}
	_, err := o.share(ctx, "", func() (any, error) { return o.Nodes(ctx) })
	return err
}

// rememberAtMost is how many answers are kept; all of them are young, so none is missed
// for long.
const rememberAtMost = 100_000

func (o *Owners) remember(mesh wire.ID, owner int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= rememberAtMost {
		clear(o.known)
	}
	o.known[mesh] = answer{owner, time.Now()}
}

// Forget drops what is remembered about the owner of a mesh.
func (o *Owners) Forget(mesh wire.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, mesh)
}
