package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// The methods of this file are for the broker of this node.

// OnLoss sets the function that hears of meshes that this node serves but no longer owns. Call
// it before anything else. do must not block.
func (o *Owners) OnLoss(do func(meshes []wire.ID)) { o.onLoss = do }

// Own makes this node the owner of a mesh, unless another node owns it. The broker calls it
// before it reads anything of the mesh. It returns nil once the mesh belongs to this node,
// a *MovedError if it belongs to another one, ErrNoOwner while nobody can get it, and
// ErrNoMesh.
func (o *Owners) Own(ctx context.Context, mesh wire.ID) error {
	for {
		o.mu.Lock()
		leaves, losses := o.serves[mesh], o.losses
		o.mu.Unlock()
		self, ok := o.store.Self()
		if !ok || leaves {
			return ErrNoOwner
		}
		owner, ok, err := o.store.Assign(ctx, mesh, self)
		switch {
		case err != nil:
			return fmt.Errorf("take mesh %s: %w", mesh, err)
		case !ok:
			return ErrNoOwner
		case owner != self:
			o.remember(mesh, owner)
			return &MovedError{mesh, owner}
		case o.serve(mesh, losses):
			return nil
		}
	}
}

// serve notes that this node owns a mesh, unless it has given meshes up since their number
// was losses: this one may be among them.
func (o *Owners) serve(mesh wire.ID, losses uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.losses != losses || o.serves[mesh] {
		return false
	}
	o.serves[mesh] = false
	return true
}

// MovedError reports that another node owns a mesh.
type MovedError struct {
	Mesh wire.ID
	Node int64
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("mesh %s belongs to another node of the cluster", e.Mesh)
}

// A broker gives meshes away in three steps. After Leave, Own fails for them. Then the
// broker closes their sockets and stores what is left to store. Give lets other nodes take
// the meshes. Then the broker drops them from memory and calls Lost, or it calls Stay if
// something has failed and it goes on serving them.

// Leave makes Own fail for meshes that this node serves, and returns those that it serves
// and that were not being given away already.
func (o *Owners) Leave(meshes []wire.ID) (leaving []wire.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range meshes {
		if leaves, serves := o.serves[m]; serves && !leaves {
			o.serves[m] = true
			delete(o.known, m)
			leaving = append(leaving, m)
		}
	}
	return leaving
}

// LeaveOwned is Leave for meshes that this node owns, whether it serves them or not.
func (o *Owners) LeaveOwned(meshes []wire.ID) (leaving []wire.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range meshes {
		if !o.serves[m] {
			o.serves[m] = true
			delete(o.known, m)
			leaving = append(leaving, m)
		}
	}
	return leaving
}

// Stay undoes Leave.
func (o *Owners) Stay(meshes []wire.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range meshes {
		if o.serves[m] {
			o.serves[m] = false
		}
	}
}

// Give lets other nodes take meshes of this node. It waits until this node's transactions
// have ended. After an error the meshes may or may not be this node's.
func (o *Owners) Give(ctx context.Context, meshes []wire.ID) error {
	if err := o.store.Release(ctx, meshes); err != nil {
		return fmt.Errorf("give up %d meshes: %w", len(meshes), err)
	}
	return nil
}

// Serves reports whether Own has succeeded for a mesh, which is not being given away.
func (o *Owners) Serves(mesh wire.ID) bool {
	served, _ := o.isServed(mesh)
	return served
}

// Served returns the meshes for which Own has succeeded and that are not being given away.
func (o *Owners) Served() []wire.ID {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]wire.ID, 0, len(o.serves))
	for m, leaves := range o.serves {
		if !leaves {
			list = append(list, m)
		}
	}
	return list
}

// Lost notes that this node serves these meshes no longer.
func (o *Owners) Lost(meshes []wire.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.losses++
	for _, m := range meshes {
		delete(o.serves, m)
		delete(o.known, m)
	}
}

// Strays returns the meshes that belong to this node although its broker never asked for
// them: what they were assigned for has not come.
func (o *Owners) Strays(ctx context.Context) ([]wire.ID, error) {
	list, err := o.store.Owned(ctx, strayAfter)
	if err != nil {
		return nil, fmt.Errorf("list this node's meshes: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.DeleteFunc(list, func(m wire.ID) bool { _, ok := o.serves[m]; return ok }), nil
}

// Neglected returns meshes without an owner that have messages from before a time.
func (o *Owners) Neglected(ctx context.Context, before time.Time, limit int) ([]wire.ID, error) {
	return o.store.Neglected(ctx, before, limit)
}

// Drain makes sure that this node gets no more meshes.
func (o *Owners) Drain(ctx context.Context) error { return o.store.Drain(ctx) }

// Draining reports whether this node is to give all of its meshes away.
func (o *Owners) Draining() bool { return o.store.Draining() }

// Elsewhere says whether this node's address leads to something else, or to nothing. Then it is as
// if the node drained: the other nodes can't reach it.
func (o *Owners) Elsewhere(is bool) { o.store.Elsewhere(is) }

// Problem says why this node's clock keeps it from serving meshes, or returns nil.
func (o *Owners) Problem() error {
	ahead := o.store.ClockAhead()
	if ahead == 0 {
		return nil
	}
	return fmt.Errorf("the clock of this machine is %s of the database's, while another node's clock is right; set the clock. "+
		"Until then this node gives its meshes to other nodes and takes none", Clock(ahead))
}

// Asked returns the meshes that this node is to give away.
func (o *Owners) Asked(ctx context.Context) ([]wire.ID, error) {
	list, err := o.store.Asked(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the meshes that this node is to give away: %w", err)
	}
	return list, nil
}
