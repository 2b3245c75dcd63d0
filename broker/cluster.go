package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// A broker that is a node of a cluster serves only meshes that it owns. It becomes the
// owner before it reads anything of a mesh, and drops the mesh from memory before it may
// become the owner again. Without a cluster, all meshes are its own.

// seqGap is Settings.Gap of the queue in a cluster: more deliveries than fit in the memory
// of the broker that had the mesh before.
const seqGap = 1 << 24

// ownMeshes is the storage of the meshes, for a node of a cluster.
type ownMeshes struct {
	mesh.Store
	broker *Broker
}

// Mesh makes this node the owner before it reads the mesh.
func (o ownMeshes) Mesh(ctx context.Context, id wire.ID) (mesh.Mesh, []mesh.Member, error) {
	err := o.broker.cluster.Own(ctx, id)
	if errors.Is(err, cluster.ErrNoMesh) {
		return mesh.Mesh{}, nil, mesh.ErrMeshNotFound
	} else if err != nil {
		return mesh.Mesh{}, nil, err
	}
	return o.Store.Mesh(ctx, id)
}

// Redeem implements mesh.Store.
func (o ownMeshes) Redeem(ctx context.Context, invite wire.ID, m mesh.Member) (mesh.Member, bool, error) {
	if !o.broker.cluster.Serves(m.MeshID) {
		return mesh.Member{}, false, cluster.ErrNoOwner
	}
	member, existed, err := o.Store.Redeem(ctx, invite, m)
	return member, existed, o.noteLost(err)
}

// AddInvite implements mesh.Store.
func (o ownMeshes) AddInvite(ctx context.Context, v mesh.Invite) error {
	return o.write(v.MeshID, func() error { return o.Store.AddInvite(ctx, v) })
}

// RevokeInvite implements mesh.Store.
func (o ownMeshes) RevokeInvite(ctx context.Context, id, invite wire.ID, at time.Time) error {
	return o.write(id, func() error { return o.Store.RevokeInvite(ctx, id, invite, at) })
}

// UpdateMember implements mesh.Store.
func (o ownMeshes) UpdateMember(ctx context.Context, m mesh.Member) error {
	return o.write(m.MeshID, func() error { return o.Store.UpdateMember(ctx, m) })
}

// write changes a mesh, unless it is being given away.
func (o ownMeshes) write(id wire.ID, do func() error) error {
	if !o.broker.cluster.Serves(id) {
		return cluster.ErrNoOwner
	}
	return o.noteLost(do())
}

// noteLost passes on an error, and drops the meshes that it says are lost.
func (o ownMeshes) noteLost(err error) error {
	var lost *journal.LostError
	if errors.As(err, &lost) {
		o.broker.lostMeshes(lost.Meshes)
	}
	return err
}

// isElsewhere reports whether a mesh can't be served here now, but perhaps soon: it belongs
// to another node, or is on its way to one.
func isElsewhere(err error) bool {
	var moved *cluster.MovedError
	return errors.As(err, &moved) || errors.Is(err, cluster.ErrNoOwner) || errors.Is(err, errRoomClosed)
}

// roomOnceClaimed returns a mesh for a hello, which waits for the end of a suspension and
// for a mesh that is on its way to this node.
func (b *Broker) roomOnceClaimed(ctx context.Context, id wire.ID) (*room, error) {
	patient, cancel := context.WithTimeout(ctx, helloPatience)
	defer cancel()
	if err := b.awaitClaimed(patient); err != nil {
		return nil, err
	}
	return b.roomSoon(patient, id)
}

// roomSoon is room, but waits until ctx ends for a mesh that is on its way to this node.
func (b *Broker) roomSoon(ctx context.Context, id wire.ID) (*room, error) {
	for {
		var changed <-chan struct{}
		if b.cluster != nil {
			changed = b.cluster.Watch()
		}
		r, err := b.roomNow(id)
		if b.cluster == nil || !isElsewhere(err) {
			return r, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, tryLater("the mesh is moving to another node of the broker's cluster; try again")
		}
	}
}

func (b *Broker) roomNow(id wire.ID) (*room, error) {
	ctx, cancel := storageContext()
	defer cancel()
	return b.room(ctx, id)
}

// requests are the HTTP requests that are being served. What they change in a mesh, they
// record in its audit log a moment later.
type requests struct {
	mu   sync.Mutex
	open map[chan struct{}]struct{} // closed when the request has been served
}

func (r *requests) begin() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	served := make(chan struct{})
	if r.open == nil {
		r.open = make(map[chan struct{}]struct{})
	}
	r.open[served] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, served)
		close(served)
	}
}

// await waits until the requests that have begun are served, or until ctx ends.
func (r *requests) await(ctx context.Context) {
	r.mu.Lock()
	open := slices.Collect(maps.Keys(r.open))
	r.mu.Unlock()
	for _, served := range open {
		select {
		case <-served:
		case <-ctx.Done():
			return
		}
	}
}

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

// HandOver gives meshes to other nodes: it closes their sockets with 1012, stores what is
// left to store, and then lets others take them. If an error occurs, the meshes stay.
func (b *Broker) HandOver(ctx context.Context, ids []wire.ID) error {
	if b.cluster == nil {
		return errors.New("this broker is not a node of a cluster")
	}
	return b.depart(ctx, b.cluster.Leave(ids), handOver)
}

// HandOverAll makes sure that this node gets no more meshes, and hands over those that it
// has, one after the other, spread over a time. A node that has not joined the cluster, or
// was removed from it, has none.
func (b *Broker) HandOverAll(ctx context.Context, over time.Duration) error {
	if b.cluster == nil {
		return errors.New("this broker is not a node of a cluster")
	}
	if _, joined := b.cluster.Self(); !joined {
		return nil
	}
	if err := b.cluster.Drain(ctx); err != nil {
		return err
	}
	b.handing.once.Do(func() { close(b.handing.leaves) })
	select {
	case b.handing.turn <- struct{}{}:
		defer func() { <-b.handing.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.handOverEach(ctx, nil, b.cluster.Served(), over)
}

// handing lets one goroutine at a time hand over several meshes.
type handing struct {
	turn   chan struct{} // holds one element meanwhile
	once   sync.Once
	leaves chan struct{} // closed when the node leaves, and obeys nobody any more
}

// handOverEach hands meshes over one after the other, spread over a time, until stop is closed.
func (b *Broker) handOverEach(ctx context.Context, stop <-chan struct{}, meshes []wire.ID, over time.Duration) error {
	var errs []error
	for i, id := range meshes {
		select {
		case <-stop:
			return errors.Join(errs...)
		default:
		}
		began := time.Now()
		errs = append(errs, b.giveAway(ctx, id))
		pause := over/time.Duration(len(meshes)) - time.Since(began)
		if i == len(meshes)-1 || pause <= 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-stop:
		case <-ctx.Done():
			return errors.Join(append(errs, ctx.Err())...)
		}
	}
	return errors.Join(errs...)
}

// giveWithin is how long a mesh may take to be handed over. Its sockets are closed meanwhile;
// after that it stays, and its clients come back to it.
const giveWithin = 5 * time.Second

// giveAway hands over a mesh that this node owns, even if nobody has asked for it here yet.
func (b *Broker) giveAway(ctx context.Context, id wire.ID) error {
	ctx, cancel := context.WithTimeout(ctx, giveWithin)
	defer cancel()
	return b.depart(ctx, b.cluster.LeaveOwned([]wire.ID{id}), handOver)
}

// obeyOver is the time over which a node hands over the meshes that an operator asks it to
// give away, so that not all clients connect again at once.
const obeyOver = 2 * time.Second

// obey hands over the meshes that this node is asked to give away, until ctx ends.
func (b *Broker) obey(ctx context.Context) {
	for {
		changed := b.cluster.Watch()
		if err := b.obeyOnce(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("handing over meshes that this node is to give away failed; it tries again", zap.Error(err))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Broker) obeyOnce(ctx context.Context) error {
	if b.isSuspended() {
		return nil
	}
	meshes, err := b.cluster.Asked(ctx)
	if err != nil || len(meshes) == 0 {
		return err
	}
	select {
	case b.handing.turn <- struct{}{}:
		defer func() { <-b.handing.turn }()
	case <-b.handing.leaves:
		return nil
	}
	b.log.Info("handing over meshes, as this node is asked to", zap.Int("meshes", len(meshes)))
	return b.handOverEach(ctx, b.handing.leaves, meshes, obeyOver)
}

// depart makes meshes leave this node, for which cluster.Leave was called.
func (b *Broker) depart(ctx context.Context, ids []wire.ID, how departure) error {
	if len(ids) == 0 {
		return nil
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
		b.log.Warn("it is not certain that meshes were given up", zap.Error(err))
	}
	// A commit may have found that some were lost already. Otherwise nothing is left to drop.
	if err := b.journal.Drop(ctx, ids); err != nil {
		b.log.Warn("dropping what is left of meshes that were given up failed", zap.Error(err))
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

// neglectedAtOnce is how many meshes a node takes at a time to expire their messages.
const neglectedAtOnce = 64

// takeNeglected makes this node the owner of some meshes that have no owner and in which
// messages have expired. The next sweep of the storage expires them, and then releaseIdle
// gives the meshes up.
func (b *Broker) takeNeglected(ctx context.Context, now time.Time) error {
	list, err := b.cluster.Neglected(ctx, now.Add(-b.Settings().MessageRetention), neglectedAtOnce)
	if err != nil {
		return err
	}
	for _, id := range list {
		if err := b.cluster.Own(ctx, id); err != nil && !isElsewhere(err) {
			return err
		}
	}
	return nil
}
