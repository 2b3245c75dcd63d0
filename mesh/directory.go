package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Directory holds the meshes in use and changes them. The package comment describes
// its concurrency.
type Directory struct {
	store  Store      // static
	limit  func() int // the maximum number of members in a mesh
	replay *identity.ReplayGuard
	ids    wire.IDSource

	mu    sync.Mutex
	slots map[wire.ID]*slot // guarded by mu
}

// slot is a mesh that is in memory or being loaded. A failed load removes its slot from
// the Directory, so that unknown meshes take no memory.
type slot struct {
	loaded chan struct{} // closed when the fields below are set
	view   *View
	err    error
	gaveUp bool // the loading caller's context ended: another caller should load
}

// NewDirectory returns a Directory of the meshes in store. It reads nothing yet.
func NewDirectory(store Store, limit func() int) *Directory {
	return &Directory{
		store:  store,
		limit:  limit,
		replay: identity.NewReplayGuard(0),
		slots:  make(map[wire.ID]*slot),
	}
}

// Get returns a mesh. It loads the mesh from the Store on first use, only once however
// many callers ask at the same time. It returns ErrMeshNotFound for an unknown mesh.
//
// Get also returns a mesh in memory while the Store is unreachable, even if the outcome
// of the mesh's last change is unknown.
func (d *Directory) Get(ctx context.Context, meshID wire.ID) (*View, error) {
	v, err := d.cached(ctx, meshID)
	if err != nil || !v.unsure.Load() {
		return v, err
	}
	select {
	case v.writing <- struct{}{}:
		// On failure return v as it is; the next caller tries again.
		_ = v.reloadLocked(ctx, d.store)
		v.unlock()
	default: // another caller is reloading or changing v; don't wait for a slow Store
	}
	return v, nil
}

// Loaded lists the meshes in memory, so that the caller can forget unused ones.
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

// Forget drops a mesh from memory and reports whether it did. It keeps a mesh that is
// being loaded or changed. Earlier Views of a forgotten mesh don't follow later changes.
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

// cached returns the mesh as it is in memory, which may differ from the Store.
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

// lock locks the mesh for changes and returns it, in sync with the Store. The caller
// calls unlock.
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
		if err := v.reloadLocked(ctx, d.store); err != nil {
			v.unlock()
			return nil, err
		}
		return v, nil
	}
}
