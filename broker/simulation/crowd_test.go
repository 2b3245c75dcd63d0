package simulation

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// crowd is one run with several nodes: a database, the nodes that share it, and guests, each with a
// session in one mesh. A guest sends one message after the other: it repeats a message until the
// message is acknowledged, and then sends the next.
type crowd struct {
	seed   uint64
	server *server
	all    sync.WaitGroup

	mu     sync.Mutex
	sites  []*site
	next   int64 // id of the next node
	parted map[[2]int64]bool
	guests []*guest
	strays []stray
	over   bool
	now    string
	broken []string
}

// site is a node with its broker.
type site struct {
	id      int64
	session *session
	broker  *broker.Broker
	owners  *cluster.Owners
	marked  bool // an operator has asked it to drain; guarded by the disk's lock
	gone    bool
}

func (w *crowd) luck(parts ...any) uint64 { return (&world{seed: w.seed}).luck(parts...) }

func newCrowd(seed uint64, broken sabotage) *crowd {
	w := &crowd{seed: seed, parted: make(map[[2]int64]bool), next: 1}
	w.server = newServer(w.luck)
	w.server.broken = broken
	for i := range 3 {
		id := wire.ID{byte(i + 1)}
		w.server.meshes[id] = mesh.Mesh{ID: id, Slug: fmt.Sprint("mesh-", i), Name: fmt.Sprint("Mesh ", i), Owner: keys()[0].Public(), CreatedAt: epoch}
		m := &member{mesh: id, id: wire.ID{byte(i + 1), 1}, keys: keys()[0]}
		w.server.members[id] = []mesh.Member{{ID: m.id, MeshID: id, Key: m.keys.Public(), DisplayName: "member", Role: mesh.Owner, JoinedAt: epoch}}
		for k := range 3 {
			g := &guest{crowd: w, got: make(map[string]int), order: make(map[*guest]int)}
			g.peer = &peer{name: fmt.Sprintf("%c%d", 'a'+i, k), member: m, keys: keys()[8+4*i+k], addr: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(k)})}
			w.guests = append(w.guests, g)
		}
	}
	return w
}

// violateLocked notes a broken promise. The text begins with the number of the promise.
func (w *crowd) violateLocked(format string, args ...any) {
	if len(w.broken) < 5 {
		w.broken = append(w.broken, fmt.Sprintf("%s, in %q: promise ", time.Since(epoch).Round(time.Millisecond), w.now)+fmt.Sprintf(format, args...))
	}
}

// openLocked adds a node.
func (w *crowd) openLocked() {
	s := &site{id: w.next, session: w.server.connect()}
	w.next++
	s.session.takeSeat(s.id)
	s.owners = cluster.NewOwners(s.session)
	s.broker = broker.New(broker.Options{Storage: s.session, Settings: settings(), Log: zap.NewNop(), Version: "simulation", Budget: budget, Cluster: s.owners})
	w.sites = append(w.sites, s)
	w.all.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.broker.Start(ctx); err != nil {
			w.mu.Lock()
			w.violateLocked("11: start: %v", err)
			w.mu.Unlock()
		}
		select {
		case <-s.broker.Lost(): // as the Caddy module does
			w.replace(s, func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				_ = s.broker.Stop(ctx)
				s.session.die(false)
			})
		case <-s.session.died:
		}
	})
}

// replace ends a node, unless it has already ended, and adds another one.
func (w *crowd) replace(s *site, end func()) {
	w.mu.Lock()
	was := s.gone
	s.gone = true
	w.mu.Unlock()
	if was {
		return
	}
	end()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutLocked(func(g *guest) bool { return g.owner == s || g.edge == s })
	w.sites = slices.DeleteFunc(w.sites, func(other *site) bool { return other == s })
	if !w.over {
		w.openLocked()
	}
}

func (w *crowd) cutLocked(which func(*guest) bool) {
	for _, g := range w.guests {
		if g.line != nil && which(g) {
			g.line.cut(true)
		}
	}
}

// ownerLocked returns the owner of a mesh, or nil.
func (w *crowd) ownerLocked(m wire.ID) *site {
	d := w.server.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(w.sites, func(s *site) bool { return s.id == d.registry.owners[m].node && !s.gone })
	if i < 0 {
		return nil
	}
	return w.sites[i]
}

// do executes a step.
func (w *crowd) do(s step) {
	w.mu.Lock()
	w.now = s.String()
	g := w.guests[s.peer%len(w.guests)]
	var at *site
	if len(w.sites) > 0 {
		at = w.sites[s.arg%len(w.sites)]
	}
	switch s.kind {
	case nTell:
		for i := range 1 + s.mode%4 {
			to := w.guests[(s.peer%len(w.guests))/3*3+(s.peer+1+(s.arg+i)%2)%3]
			g.sent = append(g.sent, letter{fmt.Sprint(g.name, "-", len(g.sent)), to})
		}
		if len(g.sent)-g.acked <= 1+s.mode%4 {
			g.sendLocked()
		}
	case nCut:
		if g.line != nil {
			g.line.cut(s.mode%2 == 0)
		}
	case nHandOver:
		if owner := w.ownerLocked(g.member.mesh); owner != nil {
			w.all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				_ = owner.broker.HandOver(ctx, []wire.ID{g.member.mesh})
			})
		}
	case nKill:
		w.mu.Unlock()
		w.replace(at, func() {
			w.mu.Lock()
			w.cutLocked(func(g *guest) bool { return g.owner == at })
			w.mu.Unlock()
			at.session.die(s.mode%2 == 0)
			dead, cancel := context.WithCancel(context.Background())
			cancel()
			_ = at.broker.Stop(dead)
		})
		w.mu.Lock()
	case nDrain:
		w.all.Go(func() {
			w.replace(at, func() {
				ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
				defer cancel()
				_ = at.broker.HandOverAll(ctx, 0)
				_ = at.broker.Stop(ctx)
				at.session.die(true)
			})
		})
	case nCutOff:
		if cut, _ := at.session.lease.cut(); !cut {
			at.session.lease.cutOff()
			time.AfterFunc(time.Duration(500+6*s.peer)*time.Millisecond, at.session.lease.heal)
		}
	case nPartition:
		other := w.sites[(s.arg+1)%len(w.sites)]
		p := pair(at.id, other.id)
		w.parted[p] = true
		w.cutLocked(func(g *guest) bool { return pair(g.edge.id, g.owner.id) == p && g.edge != g.owner })
		time.AfterFunc(time.Duration(s.peer)*5*time.Millisecond, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.parted, p)
		})
	case nSteal, nMove, nMark, nJump:
		w.alterLocked(s.kind, g, at, [...]time.Duration{10 * time.Second, -10 * time.Second, time.Hour, -time.Hour}[s.mode%4])
	case nHalt:
		if owner := w.ownerLocked(g.member.mesh); owner != nil && s.mode%4 > 0 {
			at = owner
		}
		w.haltLocked(at, [...]string{"", "", "commit", "commit answer"}[s.mode%4], time.Duration(500+8*s.arg)*time.Millisecond)
	case nClock:
		at.session.seat.setClock([]time.Duration{time.Hour, -time.Hour, 0}[s.mode%3])
	case nTurn:
		w.server.turn([]weather{fair, slow, failing, frozen, fair, fair}[s.mode%6])
	}
	w.mu.Unlock()
	time.Sleep(s.pause)
}

// alterLocked executes a step that changes the database without the nodes: it concerns g's mesh or the
// node at.
func (w *crowd) alterLocked(what kind, g *guest, at *site, jump time.Duration) {
	d := w.server.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	switch what {
	case nSteal:
		if o, owned := d.registry.owners[g.member.mesh]; owned && d.registry.nodes[at.id] != nil && o.node != at.id && !d.registry.stolen[theft{g.member.mesh, at.id}] {
			d.registry.stolen[theft{g.member.mesh, o.node}] = true
			d.registry.owners[g.member.mesh] = ownership{node: at.id, since: d.registry.now()}
		}
	case nMove:
		if o, owned := d.registry.owners[g.member.mesh]; owned {
			o.movesTo = at.id
			d.registry.owners[g.member.mesh] = o
		}
	case nJump:
		d.registry.ahead += jump
	case nMark:
		if n := d.registry.nodes[at.id]; n != nil {
			n.Draining = !n.Draining
			at.marked = n.Draining
		}
	}
}
