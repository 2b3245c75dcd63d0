package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// Loading a mesh reads the state that it had when it was last in memory, here or in another
// process: its members, its presences, where its sequences go on, and the hellos accepted
// lately. A mesh that nobody uses is forgotten.

// helloMemory is how long an accepted hello is stored: longer than its timestamp is valid.
const helloMemory = 5 * time.Minute

// meshIdle is how long a mesh stays in memory with nobody in it.
const meshIdle = 10 * time.Minute

// room returns a mesh, and loads it at first use. Concurrent callers share one load.
func (b *Broker) room(ctx context.Context, id wire.ID) (*room, error) {
	if r := b.roomInMemory(id); r != nil {
		if r.leaving.Load() {
			return nil, errRoomClosed
		}
		return r, nil
	}
	b.mu.Lock()
	notOpen := b.notOpen
	b.mu.Unlock()
	if notOpen != nil {
		return nil, notOpen
	}
	r, err, _ := b.loads.Do(string(id[:]), func() (any, error) {
		// The other callers need the room even if this one's ctx ends, until the broker stops.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storagePatience)
		defer cancel()
		defer context.AfterFunc(b.life, cancel)()
		return b.loadRoom(ctx, id)
	})
	if err != nil {
		return nil, err
	}
	return r.(*room), nil
}

func (b *Broker) loadRoom(ctx context.Context, id wire.ID) (*room, error) {
	b.loading.RLock()
	defer b.loading.RUnlock()
	if r := b.roomInMemory(id); r != nil { // loaded since the caller looked
		return r, nil
	}
	members, err := b.meshes.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.cluster != nil && !b.cluster.Serves(id) {
		return nil, errRoomClosed // its members were in memory, and it is being given away
	}
	r := b.newRoom(id, members)
	if r.queue, err = b.queue.Load(ctx, id); err != nil {
		return nil, err
	}
	if err := b.recallHellos(ctx, id); err != nil {
		return nil, err
	}
	if err := r.restorePresences(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rooms[id] = r
	return r, nil
}

func (b *Broker) newRoom(id wire.ID, members *mesh.View) *room {
	r := &room{
		broker: b, id: id, members: members, rates: newLimiters[wire.ID](), copies: newCopyRights(),
		presences: presence.NewRoom[*conn](id), serving: make(map[string]*conn), guests: make(map[*conn]struct{}),
		epoch: newEpoch(), untold: make(map[*presence.Presence[*conn]]untold), rechecked: time.Now(),
	}
	r.news.room = r
	return r
}

// recallHellos makes sure that hellos accepted when the mesh was last in memory are not
// accepted again.
func (b *Broker) recallHellos(ctx context.Context, id wire.ID) error {
	hellos, err := b.storage.Hellos(ctx, id, time.Now().Add(-helloMemory))
	if err != nil {
		return fmt.Errorf("read the recent hellos of mesh %s: %w", id, err)
	}
	for _, h := range hellos {
		b.replays.Recall(h.Signature, h.At)
	}
	return nil
}

// restorePresences restores the presences that were here when the mesh was last in memory.
// Their leases begin now.
func (r *room) restorePresences(ctx context.Context) error {
	records, err := r.broker.storage.Presences(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read the presences of mesh %s: %w", r.id, err)
	}
	known, err := r.broker.storage.KnownSessions(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read the known sessions of mesh %s: %w", r.id, err)
	}
	now := time.Now()
	for i := range records { // a clock may have been ahead, and what lies in the future would never end
		rec := &records[i]
		rec.StatusAt, rec.LastSeenAt = earliest(rec.StatusAt, now), earliest(rec.LastSeenAt, now)
	}
	r.presences.Restore(records, known, now.Add(r.broker.Settings().PresenceLease))
	r.broker.held.giveTo(r, now)
	return nil
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (b *Broker) roomInMemory(id wire.ID) *room {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rooms[id]
}

func (b *Broker) allRooms() []*room {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*room, 0, len(b.rooms))
	for _, r := range b.rooms {
		list = append(list, r)
	}
	return list
}

// forgetMeshes drops the meshes that nobody uses from memory.
func (b *Broker) forgetMeshes(now time.Time) {
	if !b.loading.TryLock() {
		return // a mesh is being loaded: there is no hurry
	}
	defer b.loading.Unlock()
	for _, r := range b.allRooms() {
		if r.close(now) {
			b.journal.Forget(r.id)
			b.mu.Lock()
			delete(b.rooms, r.id)
			b.mu.Unlock()
		}
	}
	for _, id := range b.meshes.Loaded() { // joining and invite pages load meshes too
		if b.roomInMemory(id) == nil {
			b.meshes.Forget(id)
		}
	}
}

// close closes a room that has been empty for meshIdle, so that nobody joins. A room stays while
// its messages wait for the storage: the numbers of their deliveries are not stored yet.
func (r *room) close(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isIdleLocked(now) && r.broker.queue.Forget(r.id) {
		r.closed = true
	}
	return r.closed
}

// isIdleLocked reports whether a room has been empty for meshIdle. It must be called from
// time to time.
func (r *room) isIdleLocked(now time.Time) bool {
	switch {
	case r.presences.Len() > 0 || len(r.guests) > 0:
		r.empty = time.Time{}
	case r.empty.IsZero():
		r.empty = now
	}
	return !r.empty.IsZero() && now.Sub(r.empty) > meshIdle
}
