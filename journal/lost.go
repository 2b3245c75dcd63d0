package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// The journal stores nothing more of a mesh that the broker has lost, even if the broker gets the
// mesh again before it has noticed the loss. That ends with Drop, which the broker calls once it
// adds nothing more for the mesh.

// meshes is a set of meshes.
type meshes map[wire.ID]struct{}

func (m meshes) has(id wire.ID) bool {
	_, ok := m[id]
	return ok
}

// dropping is a call of Drop.
type dropping struct {
	meshes []wire.ID
	done   chan struct{}
}

// Drop gives up everything of some meshes that waits to be stored, because the broker has
// lost them. Their messages are refused. It returns once nothing of them is left, or when
// ctx ends. The caller must add nothing more.
func (j *Journal) Drop(ctx context.Context, lost []wire.ID) error {
	done := make(chan struct{})
	j.mu.Lock()
	j.loseLocked(lost)
	j.pending.dropping = append(j.pending.dropping, dropping{lost, done})
	j.mu.Unlock()
	j.signal()
	return await(ctx, done, "drop meshes from the journal")
}

// Lost returns those of the given meshes that a commit has found lost since the last Drop of
// them.
func (j *Journal) Lost(of []wire.ID) (lost []wire.ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range of {
		if j.lost.has(id) {
			lost = append(lost, id)
		}
	}
	return lost
}

// loseLocked notes that nothing of these meshes may be stored.
func (j *Journal) loseLocked(lost []wire.ID) {
	for _, id := range lost {
		j.lost[id] = struct{}{}
	}
}

// serveDrops does what Drop asks for. w is the batch that waits to be committed.
func (j *Journal) serveDrops(w *work) {
	j.mu.Lock()
	asked := j.pending.dropping
	j.pending.dropping = nil
	if len(asked) == 0 {
		j.mu.Unlock()
		return
	}
	lost := make(meshes)
	for _, d := range asked {
		for _, id := range d.meshes {
			lost[id] = struct{}{}
			delete(j.lost, id)
		}
	}
	var rest work
	p := &j.pending
	kept, given := part(p.budget.empty(), func(e numbered) bool { return lost.has(e.Mesh()) })
	p.budget.restore(kept)
	for _, e := range given {
		rest.entries = append(rest.entries, e.Entry)
	}
	rest.settling = p.settling.drop(func(s queue.Settling) bool { return lost.has(s.Mesh) })
	p.closed.drop(func(c closing) bool { return lost.has(c.Mailbox.Mesh) })
	p.events.drop(func(e audit.Event) bool { return lost.has(e.MeshID) })
	p.hellos.drop(func(h Hello) bool { return lost.has(h.Mesh) })
	p.saved, rest.saved = part(p.saved, func(s saving) bool { return lost.has(s.mesh) })
	for ref := range p.presences {
		if lost.has(ref.mesh) {
			delete(p.presences, ref)
		}
	}
	j.mu.Unlock()

	for id := range lost {
		delete(j.heads, id)
	}
	j.drop(&rest, lost)
	j.drop(w, lost)
	for _, d := range asked {
		close(d.done)
	}
}

// drop removes from a batch what concerns meshes that are lost.
func (j *Journal) drop(w *work, lost meshes) {
	if len(lost) == 0 {
		return
	}
	var given []*queue.Entry
	var settled []queue.Settling
	var unsaved []saving
	w.entries, given = part(w.entries, func(e *queue.Entry) bool { return lost.has(e.Mesh()) })
	w.settling, settled = part(w.settling, func(s queue.Settling) bool { return lost.has(s.Mesh) })
	w.saved, unsaved = part(w.saved, func(s saving) bool { return lost.has(s.mesh) })
	w.batch.Messages = slices.DeleteFunc(w.batch.Messages, func(m *queue.Accepted) bool { return lost.has(m.MeshID) })
	w.batch.Settled = slices.DeleteFunc(w.batch.Settled, func(s queue.Settlement) bool { return lost.has(s.Mesh) })
	w.batch.Closed = slices.DeleteFunc(w.batch.Closed, func(c queue.Closing) bool { return lost.has(c.Mailbox.Mesh) })
	w.batch.Presences = slices.DeleteFunc(w.batch.Presences, func(p presence.Record) bool { return lost.has(p.MeshID) })
	w.batch.Hellos = slices.DeleteFunc(w.batch.Hellos, func(h Hello) bool { return lost.has(h.Mesh) })
	w.events = slices.DeleteFunc(w.events, func(e audit.Event) bool { return lost.has(e.MeshID) })

	err := fmt.Errorf("%w: %w", queue.ErrUnavailable, ErrMoved)
	for _, e := range given {
		e.Abandoned(err)
	}
	for _, s := range settled {
		s.Done()
	}
	for _, s := range unsaved {
		s.done <- ErrMoved
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.writing, func(ref presenceRef, _ presence.Record) bool { return lost.has(ref.mesh) })
	j.pending.budget.settle(given)
	j.pending.budget.admit()
}

// part splits a list into what stays and what belongs to lost meshes.
func part[T any](list []T, isLost func(T) bool) (kept, lost []T) {
	for _, x := range list {
		if isLost(x) {
			lost = append(lost, x)
		} else {
			kept = append(kept, x)
		}
	}
	return kept, lost
}

// ErrMoved says why something of a mesh was given up: the broker has lost the mesh.
var ErrMoved = errors.New("the mesh moves to another node")

// dropLost removes what must not be stored from a batch that was just taken.
func (j *Journal) dropLost(w *work) {
	j.mu.Lock()
	lost := make(meshes, len(j.lost))
	for id := range j.lost {
		lost[id] = struct{}{}
	}
	j.mu.Unlock()
	j.drop(w, lost)
}

// withoutLost drops from the batch what the store has refused, and reports whether that is
// why it failed.
func (j *Journal) withoutLost(w *work, err error) bool {
	var refused *LostError
	if !errors.As(err, &refused) || len(refused.Meshes) == 0 {
		return false
	}
	j.mu.Lock()
	j.loseLocked(refused.Meshes)
	j.mu.Unlock()
	j.watch.Lost(refused.Meshes)
	j.dropLost(w)
	return true
}
