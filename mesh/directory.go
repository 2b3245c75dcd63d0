package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Directory knows the meshes in use and is the way to change them. See the
// package comment for how it may be used.
type Directory struct {
	store  Store      // static
	limit  func() int // of members in a mesh
	replay *identity.ReplayGuard
	ids    wire.IDSource

	mu    sync.Mutex
	slots map[wire.ID]*slot // guarded by mu
}

// slot is a mesh that is in memory or being loaded. A load that gave no view
// takes its slot out of the Directory again, so unknown meshes take no memory.
type slot struct {
	loaded chan struct{} // closed when the fields below are set
	view   *View
	err    error
	gaveUp bool // the loading caller went away: somebody else should try
}

// NewDirectory returns a Directory of what store keeps. It reads nothing yet.
func NewDirectory(store Store, limit func() int) *Directory {
	return &Directory{
		store:  store,
		limit:  limit,
		replay: identity.NewReplayGuard(0),
		slots:  make(map[wire.ID]*slot),
	}
}

// Get returns a mesh, from the Store at its first use. However many ask at once,
// the Store is asked once. It fails with ErrMeshNotFound.
//
// A mesh that is in memory is there also while the Store is out of reach, even
// if the fate of its last change is unknown.
func (d *Directory) Get(ctx context.Context, meshID wire.ID) (*View, error) {
	v, err := d.cached(ctx, meshID)
	if err != nil || !v.unsure.Load() {
		return v, err
	}
	select {
	case v.writing <- struct{}{}:
		// Whether it worked or not, v is the best there is; the next one tries again.
		_ = v.reload(ctx, d.store)
		v.unlock()
	default: // somebody is at it; readers do not queue up behind a slow Store
	}
	return v, nil
}

// Loaded lists the meshes in memory, so that the caller can forget those that
// nobody uses.
func (d *Directory) Loaded() []wire.ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]wire.ID, 0, len(d.slots))
	for id, s := range d.slots {
		if s.view != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// Forget drops a mesh from memory and reports whether it did; one that is not
// loaded, or that is being changed this moment, it leaves alone. Views from
// before no longer follow changes.
func (d *Directory) Forget(meshID wire.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.slots[meshID]
	if s == nil || s.view == nil {
		return false
	}
	select {
	case s.view.writing <- struct{}{}:
	default:
		return false
	}
	s.view.forgotten = true
	s.view.unlock()
	delete(d.slots, meshID)
	return true
}

// cached returns the mesh as it is in memory, which may be unsure.
func (d *Directory) cached(ctx context.Context, meshID wire.ID) (*View, error) {
	for {
		d.mu.Lock()
		s, found := d.slots[meshID]
		if !found {
			s = &slot{loaded: make(chan struct{})}
			d.slots[meshID] = s
		}
		d.mu.Unlock()
		if !found {
			d.load(ctx, meshID, s)
			return s.view, s.err
		}
		select {
		case <-s.loaded:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for mesh %s: %w", meshID, context.Cause(ctx))
		}
		if !s.gaveUp {
			return s.view, s.err
		}
	}
}

func (d *Directory) load(ctx context.Context, meshID wire.ID, s *slot) {
	m, members, err := d.store.Mesh(ctx, meshID)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		s.view = newView(m, members)
	} else {
		s.err = fmt.Errorf("load mesh %s: %w", meshID, err)
		s.gaveUp = ctx.Err() != nil && !errors.Is(err, ErrMeshNotFound)
		delete(d.slots, meshID)
	}
	close(s.loaded)
}

// lock returns the mesh with the right to change it, which ends with unlock.
// What memory shows is then what the Store has.
func (d *Directory) lock(ctx context.Context, meshID wire.ID) (*View, error) {
	for {
		v, err := d.cached(ctx, meshID)
		if err != nil {
			return nil, err
		}
		select {
		case v.writing <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for mesh %s: %w", meshID, context.Cause(ctx))
		}
		if v.forgotten {
			v.unlock()
			continue
		}
		if err := v.reload(ctx, d.store); err != nil {
			v.unlock()
			return nil, err
		}
		return v, nil
	}
}
