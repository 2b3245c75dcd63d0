package simulation

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// registry is the part of the disk that lists the nodes and says which node owns which mesh. Like
// the rest of the disk, it is guarded by disk.mu.
type registry struct {
	nodes  map[int64]*row
	owners map[wire.ID]ownership
	stolen map[theft]bool
	heard  []*seat             // the seats that get notifications
	ahead  time.Duration       // how far the database's clock is ahead of the true time
	robbed map[int64]time.Time // when the lease of a node that others removed would have ended by the true time
}

// now is the time by the database's clock.
func (r *registry) now() time.Time { return time.Now().Add(r.ahead) }

// theft is a mesh that was taken from a node without telling it, as only an intruder can do. The
// node learns of it only when it writes. It must not get the mesh back before that.
type theft struct {
	mesh wire.ID
	node int64
}

// row is a node as the database has it.
type row struct {
	cluster.Node
	until    time.Time // when its lease ends by the database's clock
	renewed  time.Time // when it was renewed, by the true time
	renewals int
}

// renew renews the lease of a node.
func (r *registry) renew(n *row) {
	n.until, n.renewed = r.now().Add(leaseTime), time.Now()
	n.renewals++
}

// lives reports whether the lease of a node runs, as the database sees it.
func (r *registry) lives(n *row) bool { return n != nil && r.now().Before(n.until) }

type ownership struct {
	node    int64
	since   time.Time
	movesTo int64 // 0: nowhere
}

// seat is a session's part in the cluster.
type seat struct {
	id       int64
	lossy    uint64 // a notification is lost if its random number is a multiple of this
	heard    uint64
	mu       sync.Mutex
	until    time.Time // its own clock says that the lease runs
	removed  bool
	drains   bool          // as of the last renewal
	ahead    time.Duration // how far its clock is ahead of the database's; its lease does not depend on that
	moves    bool
	watchers chan struct{}
}

// sabotage removes a safeguard, to see whether the simulation notices.
type sabotage struct {
	noFence      bool // writes are not checked
	noSuspension bool // a node does not notice that its lease has run out
	noPulse      bool // a node waits for the end of another one's lease, however long the lease runs
}

var _ cluster.Store = (*session)(nil)

// takeSeat makes a session a node. It renews its lease until the session dies.
func (s *session) takeSeat(id int64) {
	s.seat = &seat{id: id, lossy: 3}
	d := s.server.disk
	d.mu.Lock()
	n := &row{Node: cluster.Node{ID: id, Address: "node", Live: true, Started: d.registry.now()}}
	d.registry.renew(n)
	d.registry.nodes[id] = n
	d.registry.heard = append(d.registry.heard, s.seat)
	d.mu.Unlock()
	s.seat.until = time.Now().Add(leaseTime)
	go s.renewLoop()
	go s.reapLoop()
}

func (r *registry) announce() {
	for _, s := range r.heard {
		if s.heard++; s.heard%s.lossy > 0 {
			s.tell()
		}
	}
}

func (s *seat) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers != nil {
		close(s.watchers)
		s.watchers = nil
	}
}

// claimed is Claimed of a node whose own clock shows a time.
func (s *seat) claimed(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.removed:
		return storage.ErrInUse
	case !now.Before(s.until):
		return storage.ErrSuspended
	}
	return nil
}

// fenceNodeLocked is what the database checks before a node writes. It needs the disk's lock.
func (s *session) fenceNodeLocked(meshes []wire.ID) error {
	if s.server.broken.noFence {
		return nil
	}
	r := &s.server.disk.registry
	n := r.nodes[s.seat.id]
	switch {
	case n == nil:
		return storage.ErrInUse
	case !r.lives(n):
		return storage.ErrSuspended
	}
	lost := slices.DeleteFunc(slices.Clone(meshes), func(m wire.ID) bool { return r.owners[m].node == s.seat.id })
	if len(lost) > 0 {
		return &journal.LostError{Meshes: lost}
	}
	return nil
}

// Self implements cluster.Store.
func (s *session) Self() (int64, bool) {
	s.seat.mu.Lock()
	defer s.seat.mu.Unlock()
	return s.seat.id, !s.seat.removed && !s.dead()
}

// Nodes implements cluster.Store.
func (s *session) Nodes(ctx context.Context) ([]cluster.Node, error) {
	return read(ctx, s, "nodes", func(d *disk) (list []cluster.Node) {
		for _, n := range d.registry.nodes {
			node := n.Node
			node.Live = d.registry.lives(n)
			for _, o := range d.registry.owners {
				if o.node == n.ID {
					node.Meshes++
				}
			}
			list = append(list, node)
		}
		slices.SortFunc(list, func(a, b cluster.Node) int { return int(a.ID - b.ID) })
		return list
	})
}

// ownerOf returns the owner of a mesh whose lease runs, or 0.
func (r *registry) ownerOf(m wire.ID) int64 {
	o := r.owners[m]
	if !r.lives(r.nodes[o.node]) {
		return 0
	}
	return o.node
}

// Owner implements cluster.Store.
func (s *session) Owner(ctx context.Context, m wire.ID) (int64, bool, error) {
	id, err := read(ctx, s, "owner", func(d *disk) int64 { return d.registry.ownerOf(m) })
	return id, id != 0, err
}

// Assign implements cluster.Store.
func (s *session) Assign(ctx context.Context, m wire.ID, node int64) (int64, bool, error) {
	var fenced error
	id, err := read(ctx, s, "assign", func(d *disk) int64 {
		if fenced = s.fenceNodeLocked(nil); fenced != nil {
			return 0
		}
		n := d.registry.nodes[node]
		if robbed := (theft{m, node}); node == s.seat.id {
			delete(d.registry.stolen, robbed)
		} else if d.registry.stolen[robbed] {
			n = nil
		}
		if _, owned := d.registry.owners[m]; !owned && n != nil && n.Takes() && d.registry.lives(n) {
			d.registry.owners[m] = ownership{node: node, since: d.registry.now()}
		}
		return d.registry.ownerOf(m)
	})
	if err == nil {
		err = fenced
	}
	return id, id != 0 && err == nil, err
}

// Release implements cluster.Store.
func (s *session) Release(ctx context.Context, meshes []wire.ID) error {
	var fenced error
	_, err := read(ctx, s, "release", func(d *disk) bool {
		if fenced = s.fenceNodeLocked(nil); fenced == nil {
			for _, m := range meshes {
				if d.registry.owners[m].node == s.seat.id {
					d.registry.give(m)
				}
			}
			d.registry.announce()
		}
		return true
	})
	if err == nil {
		err = fenced
	}
	return err
}

// give gives a mesh to the node to which it is to move, or to nobody.
func (r *registry) give(m wire.ID) {
	o := r.owners[m]
	delete(r.owners, m)
	to := r.nodes[o.movesTo]
	if to != nil && to.ID != o.node && to.Takes() && r.lives(to) && !r.stolen[theft{m, to.ID}] {
		r.owners[m] = ownership{node: to.ID, since: r.now()}
	}
}

// Elsewhere implements cluster.Store.
func (s *session) Elsewhere(bool) {}

// ClockAhead implements cluster.Store.
func (s *session) ClockAhead() time.Duration {
	s.seat.mu.Lock()
	defer s.seat.mu.Unlock()
	return s.seat.ahead
}

func (s *seat) setClock(ahead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = ahead
}

// Draining implements cluster.Store.
func (s *session) Draining() bool {
	s.seat.mu.Lock()
	defer s.seat.mu.Unlock()
	return s.seat.drains
}

// Asked implements cluster.Store.
func (s *session) Asked(ctx context.Context) ([]wire.ID, error) {
	s.seat.mu.Lock()
	drains, moves := s.seat.drains, s.seat.moves
	s.seat.mu.Unlock()
	if !drains && !moves {
		return nil, nil
	}
	return read(ctx, s, "asked", func(d *disk) (list []wire.ID) {
		for m, o := range d.registry.owners {
			if o.node == s.seat.id && (drains || o.movesTo != 0) {
				list = append(list, m)
			}
		}
		slices.SortFunc(list, func(a, b wire.ID) int { return slices.Compare(a[:], b[:]) })
		return list
	})
}

// Owned implements cluster.Store.
func (s *session) Owned(ctx context.Context, since time.Duration) ([]wire.ID, error) {
	return read(ctx, s, "owned", func(d *disk) (list []wire.ID) {
		for m, o := range d.registry.owners {
			if o.node == s.seat.id && d.registry.now().Sub(o.since) >= since {
				list = append(list, m)
			}
		}
		return list
	})
}

// Neglected implements cluster.Store.
func (s *session) Neglected(ctx context.Context, before time.Time, limit int) ([]wire.ID, error) {
	return read(ctx, s, "neglected", func(d *disk) (list []wire.ID) {
		for _, m := range d.messages {
			if _, owned := d.registry.owners[m.MeshID]; owned || !m.CreatedAt.Before(before) || len(list) == limit {
				continue
			}
			if slices.ContainsFunc(m.Recipients, func(r queue.Recipient) bool { return r.State == queue.Pending }) && !slices.Contains(list, m.MeshID) {
				list = append(list, m.MeshID)
			}
		}
		return list
	})
}

// Drain implements cluster.Store.
func (s *session) Drain(ctx context.Context) error {
	_, err := read(ctx, s, "drain", func(d *disk) bool {
		if n := d.registry.nodes[s.seat.id]; n != nil {
			n.Draining = true
		}
		d.registry.announce()
		return true
	})
	return err
}

// Watch implements cluster.Store.
func (s *session) Watch() <-chan struct{} {
	s.seat.mu.Lock()
	defer s.seat.mu.Unlock()
	if s.seat.watchers == nil {
		s.seat.watchers = make(chan struct{})
	}
	return s.seat.watchers
}
