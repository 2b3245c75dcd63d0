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
	if err := o.broker.forgetLoss(ctx, id); err != nil {
		return mesh.Mesh{}, nil, err
	}
	return o.Store.Mesh(ctx, id)
}

// forgetLoss makes the journal store what happens in a mesh again. A hello that this node was
// still serving when the mesh had left may have added something to the journal, whose commit then
// found the mesh lost.
func (b *Broker) forgetLoss(ctx context.Context, id wire.ID) error {
	lost := b.journal.Lost([]wire.ID{id})
	if len(lost) == 0 {
		return nil
	}
	return b.journal.Drop(ctx, lost)
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

// roomOnceClaimed returns a mesh for a hello, which waits for the end of a suspension. If the hello
// can't be relayed, it also waits for a mesh that is on its way to this node.
func (b *Broker) roomOnceClaimed(ctx context.Context, id wire.ID, canRelay bool) (*room, error) {
	patient, cancel := context.WithTimeout(ctx, helloPatience)
	defer cancel()
	if err := b.awaitClaimed(patient); err != nil {
		return nil, err
	}
	for {
		var changed <-chan struct{}
		if b.cluster != nil {
			changed = b.cluster.Watch()
		}
		r, err := b.roomNow(id)
		if b.cluster == nil || !isElsewhere(err) {
			return r, err
		}
		if canRelay {
			return nil, errMoved
		}
		select {
		case <-changed:
		case <-patient.Done():
			return nil, errMoved
		}
	}
}

func (b *Broker) roomNow(id wire.ID) (*room, error) {
	ctx, cancel := b.storageContext()
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

// HandOver gives meshes to other nodes: it closes their sockets with 1012, stores what is
// left to store, and then lets others take them. If an error occurs, the meshes stay.
func (b *Broker) HandOver(ctx context.Context, ids []wire.ID) error {
	if b.cluster == nil {
		return errors.New("this broker is not a node of a cluster")
	}
	return b.depart(ctx, b.cluster.Leave(ids), handOver)
}

// drainPatience is how long a node that leaves waits for a database that does not answer.
const drainPatience = 2 * time.Second

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
	short, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if err := b.cluster.Drain(short); err != nil {
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
	wrongClock := false
	for {
		changed := b.cluster.Watch()
		if err := b.cluster.Problem(); (err != nil) != wrongClock {
			wrongClock = err != nil
			b.logClock(err)
		}
		if err := b.obeyOnce(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("could not hand over meshes that this node is to give away; retrying", zap.Error(err))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Broker) logClock(problem error) {
	if problem == nil {
		b.log.Info("the clock is right: this node may take meshes again")
		return
	}
	b.log.Error("the clock is wrong; this node serves no mesh", zap.Error(problem))
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
