package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/wire"
)

// departure is how meshes leave this node.
type departure uint8

const (
	idle     departure = iota // only meshes that nobody uses
	handOver                  // their sockets are closed
	lost                      // they belong to another node already: nothing can be stored
)

// lostMeshes drops meshes that another node may have. It returns at once.
func (b *Broker) lostMeshes(ids []wire.ID) {
	leaving := b.cluster.Leave(ids)
	if len(leaving) == 0 {
		return // it is under way
	}
	b.log.Error("this node has lost meshes; their sockets are closed", zap.Stringers("meshes", leaving))
	b.spawn(func() {
		if err := b.depart(b.life, leaving, lost); err != nil && b.life.Err() == nil {
			b.log.Error("dropping lost meshes failed", zap.Error(err))
		}
	})
}

// depart makes meshes leave this node, for which cluster.Leave was called.
func (b *Broker) depart(ctx context.Context, ids []wire.ID, how departure) error {
	if len(ids) == 0 {
		return nil
	}
	if err := b.journal.Down(); err != nil && how == handOver { // nothing could be stored: keep the sockets
		b.cluster.Stay(ids)
		return fmt.Errorf("hand over meshes: the storage is unreachable: %w", err)
	}
	var rooms []*room
	for _, id := range ids {
		// Wait until what is loading has been loaded. Nothing new will be.
		_, _, _ = b.loads.Do(string(id[:]), func() (any, error) { return nil, errRoomClosed })
		if r := b.roomInMemory(id); r != nil {
			rooms = append(rooms, r)
		}
	}
	b.requests.await(ctx)

	var conns []*conn
	var stay []wire.ID
	for _, r := range rooms {
		if list, leaves := r.leave(how); leaves {
			conns = append(conns, list...)
		} else {
			stay = append(stay, r.id)
		}
	}
	b.cluster.Stay(stay)
	among := func(list []wire.ID) func(wire.ID) bool {
		return func(id wire.ID) bool { return slices.Contains(list, id) }
	}
	ids = slices.DeleteFunc(slices.Clone(ids), among(stay))
	rooms = slices.DeleteFunc(rooms, func(r *room) bool { return slices.Contains(stay, r.id) })
	if len(ids) == 0 {
		return nil
	}
	polite, cancel := context.WithTimeout(ctx, handOverGrace)
	closeAll(polite, conns, endMoved)
	cancel()
	for _, c := range conns {
		<-c.gone // now nothing is added for these meshes any more
	}
	if err := b.settle(ctx, ids, rooms, how); err != nil {
		for _, r := range rooms {
			r.stay()
		}
		b.cluster.Stay(ids)
		if lost := b.journal.Lost(ids); len(lost) > 0 {
			b.lostMeshes(lost) // it has left them to this goroutine
		}
		return err
	}
	b.dropMeshes(ids, rooms)
	b.cluster.Lost(ids)
	return nil
}

// handOverGrace is how long peers may take to close before they are cut off. Others wait for
// the mesh meanwhile.
const handOverGrace = time.Second

// settle stores what is left of meshes and gives them up. If the meshes are lost, it forgets what
// is left instead.
func (b *Broker) settle(ctx context.Context, ids []wire.ID, rooms []*room, how departure) error {
	if how == lost {
		return b.journal.Drop(ctx, ids)
	}
	for _, r := range rooms {
		r.mu.Lock()
		r.saveLocked()
		r.mu.Unlock()
	}
	if err := b.journal.Flush(ctx); err != nil {
		return err
	}
	if err := b.cluster.Give(ctx, ids); err != nil {
		// They may be given up all the same, so drop them in either case. Everything is stored, and
		// a node that needs them finds the owner in the database.
		b.log.Warn("the storage did not confirm that meshes were given up", zap.Error(err))
	}
	// A commit may have found that some were lost already. Otherwise nothing is left to drop.
	if err := b.journal.Drop(ctx, ids); err != nil {
		b.log.Warn("could not drop the rest of meshes that were given up", zap.Error(err))
	}
	return nil
}

// dropMeshes drops meshes from memory.
func (b *Broker) dropMeshes(ids []wire.ID, rooms []*room) {
	for _, r := range rooms {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
	}
	b.mu.Lock()
	for _, id := range ids {
		delete(b.rooms, id)
	}
	b.mu.Unlock()
	for _, id := range ids {
		b.meshes.Forget(id)
		b.queue.Forget(id)
		b.journal.Forget(id)
	}
}

// leave makes a room let nobody in, and returns the connections that are in it. A room that
// somebody uses does not become idle.
func (r *room) leave(how departure) (conns []*conn, leaves bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if how == idle && !r.isIdleLocked(time.Now()) {
		return nil, false
	}
	r.leaving.Store(true)
	for c := range r.guests {
		conns = append(conns, c)
	}
	for _, p := range r.presences.All() {
		if p.Online {
			conns = append(conns, p.Conn)
		}
	}
	return conns, true
}

// stay undoes leave.
func (r *room) stay() { r.leaving.Store(false) }

// releaseIdle gives up the meshes that nobody uses.
func (b *Broker) releaseIdle(ctx context.Context, now time.Time) error {
	unused := slices.DeleteFunc(b.cluster.Served(), func(id wire.ID) bool {
		r := b.roomInMemory(id)
		if r == nil {
			return false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return !r.isIdleLocked(now)
	})
	strays, err := b.cluster.Strays(ctx)
	return errors.Join(err, b.depart(ctx, append(b.cluster.Leave(unused), b.cluster.LeaveOwned(strays)...), idle))
}
