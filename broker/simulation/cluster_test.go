package simulation

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// These are the steps of schedules with several nodes.
const (
	nTell      kind = 100 + iota // a guest sends some messages to another
	nCut                         // the line of a guest is cut
	nHandOver                    // the owner of a mesh hands it over
	nKill                        // a node dies, and another one joins
	nDrain                       // a node hands over all meshes and leaves, and another one joins
	nCutOff                      // a node can't reach the database for a while
	nPartition                   // two nodes can't reach each other for a while
	nSteal                       // the database says that a mesh belongs to another node, without a word
	nTurn                        // the storage's weather changes
	nMove                        // an operator moves a mesh to another node
	nMark                        // an operator asks a node to drain, or takes that back
	nWait
)

var clusterKindNames = [...]string{"tell", "cut", "handOver", "kill", "drain", "cutOff", "partition", "steal", "turn", "move", "mark", "wait"}

var clusterOdds = map[kind]int{nTell: 30, nCut: 10, nHandOver: 6, nKill: 2, nDrain: 1, nCutOff: 5, nPartition: 2, nSteal: 2, nTurn: 5, nMove: 5, nMark: 2, nWait: 8}

func makeClusterSchedule(seed uint64) schedule {
	rnd := rand.New(rand.NewPCG(seed, 0xc1a5))
	var urn []kind
	for k := nTell; k <= nWait; k++ {
		for range clusterOdds[k] {
			urn = append(urn, k)
		}
	}
	s := schedule{seed: seed}
	for i := range 30 + rnd.IntN(40) {
		pause := time.Duration(rnd.IntN(400)) * time.Millisecond
		k := urn[rnd.IntN(len(urn))]
		if k == nWait {
			pause = time.Duration(1+rnd.IntN(6)) * time.Second
		}
		s.steps = append(s.steps, step{index: i, kind: k, peer: rnd.IntN(1000), arg: rnd.IntN(1000), mode: rnd.IntN(12), pause: pause})
	}
	return s
}

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

// guest is a session and its user.
type guest struct {
	*peer
	crowd *crowd
	line  *link
	edge  *site // the node that took the connection
	owner *site // the node that serves it
	here  bool  // it has received a hello_ack over the line

	sent  []letter
	acked int // how many of them are acknowledged
	asked int // how often the next one was sent

	got   map[string]int // how often each letter came, by its id
	order map[*guest]int // how many letters came from each guest

}

// letter is a message of a guest.
type letter struct {
	id string
	to *guest
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

// violate notes a broken promise. The text begins with the number of the promise. The caller holds
// the lock.
func (w *crowd) violate(format string, args ...any) {
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
			w.violate("11: start: %v", err)
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

// live keeps a guest connected.
func (g *guest) live() {
	w := g.crowd
	for n := 0; ; n++ {
		w.mu.Lock()
		over := w.over
		w.mu.Unlock()
		if over {
			return
		}
		if line := g.dial(n); line != nil {
			g.read(line)
			w.mu.Lock()
			g.line, g.here = nil, false
			w.mu.Unlock()
		}
		time.Sleep(time.Duration(20+w.luck(g.name, "again", n)%400) * time.Millisecond)
	}
}

// dial connects to one of the nodes, which relays the line to the owner of the mesh.
func (g *guest) dial(n int) *link {
	w := g.crowd
	w.mu.Lock()
	edge := w.sites[w.luck(g.name, "edge", n)%uint64(len(w.sites))]
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	for {
		changed := edge.owners.Watch()
		owner, _, err := edge.owners.Owner(ctx, g.member.mesh)
		if err == nil {
			return g.relay(edge, owner.ID)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-edge.session.died:
			return nil
		}
	}
}

func (g *guest) relay(edge *site, owner int64) *link {
	w := g.crowd
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.sites, func(s *site) bool { return s.id == owner && !s.gone })
	if i < 0 || edge.gone || w.over || w.parted[pair(edge.id, owner)] {
		edge.owners.Forget(g.member.mesh)
		return nil
	}
	line := newLink()
	if err := w.sites[i].broker.ServeWebSocket(upgrade{make(map[string][]string), line}, upgradeRequest(), g.addr); err != nil {
		return nil
	}
	g.line, g.edge, g.owner = line, edge, w.sites[i]
	g.write(g.helloMessage(time.Now()))
	return line
}

func pair(a, b int64) [2]int64 { return [2]int64{min(a, b), max(a, b)} }

func (g *guest) write(message map[string]any) {
	data, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	g.line.write(encodeFrame(opText, data))
}

func (g *guest) read(line *link) {
	r := bufio.NewReaderSize(line, 1<<10)
	for {
		op, payload, err := decodeFrame(r)
		if err != nil {
			return
		}
		switch op {
		case opPing:
			line.write(encodeFrame(opPong, payload))
		case opClose:
			line.write(encodeFrame(opClose, payload[:min(2, len(payload))]))
			return
		case opText:
			g.receive(payload)
		}
	}
}

// receive handles a frame from the broker.
func (g *guest) receive(data []byte) {
	var f struct {
		Type, Subtype, ID, Error string
		MessageID                string `json:"messageId"`
		ClientID                 string `json:"client_message_id"`
		Queued                   bool
	}
	w := g.crowd
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(data, &f); err != nil {
		w.violate("11: %s got %q", g.name, data)
		return
	}
	switch {
	case f.Type == wire.TypeHelloAck:
		g.speaks("let in")
		g.here, g.asked = true, 0
		g.sendLocked()
	case f.Type == wire.TypeAck && g.acked < len(g.sent) && f.ID == g.sent[g.acked].id:
		if !f.Queued || f.Error != "" {
			time.AfterFunc(time.Second, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				g.sendLocked()
			})
			return
		}
		g.acked++
		g.asked = 0
		g.sendLocked()
	case f.Type == wire.TypePush && f.Subtype != wire.SubtypeSystem:
		g.speaks("sent a message")
		g.got[f.ClientID]++
		if g.got[f.ClientID] == 1 {
			g.inOrder(f.ClientID)
		}
		if w.luck(g.name, f.ClientID, g.got[f.ClientID])%8 > 0 {
			g.write(map[string]any{"type": wire.TypeClientAck, "brokerMessageId": f.MessageID, "clientMessageId": f.ClientID})
		}
	}
}

// inOrder checks that a letter that comes for the first time is the next one of its sender.
func (g *guest) inOrder(id string) {
	for _, from := range g.crowd.guests {
		n := 0
		for _, l := range from.sent {
			if l.to != g {
				continue
			}
			if l.id == id {
				if n != g.order[from] {
					g.crowd.violate("2: %s came to %s as number %d; want number %d", id, g.name, g.order[from], n)
				}
				g.order[from]++
				return
			}
			n++
		}
	}
	g.crowd.violate("2: %s came to %s, but nobody has sent it", id, g.name)
}

// speaks checks that the owner of the mesh has sent what comes over the line.
func (g *guest) speaks(what string) {
	d := g.crowd.server.disk
	d.mu.Lock()
	owner := d.registry.owners[g.member.mesh].node
	stolen := d.registry.stolen[theft{g.member.mesh, g.owner.id}]
	d.mu.Unlock()
	if owner != g.owner.id && !stolen {
		g.crowd.violate("5: node %d has %s %s, but the mesh belongs to node %d", g.owner.id, what, g.name, owner)
	}
}

// sendLocked sends the messages that are not acknowledged yet.
func (g *guest) sendLocked() {
	if !g.here || g.acked == len(g.sent) || g.line == nil {
		return
	}
	l := g.sent[g.acked]
	g.asked++
	g.write(map[string]any{"type": wire.TypeSend, "id": l.id, "client_message_id": l.id, "targetSpec": l.to.keys.Public().String(),
		"priority": string(wire.Now), "nonce": "bm9uY2U=", "ciphertext": "Ym9keQ=="})
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
	d := w.server.disk
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
		d.mu.Lock()
		owner := d.registry.owners[g.member.mesh].node
		d.mu.Unlock()
		if i := slices.IndexFunc(w.sites, func(x *site) bool { return x.id == owner && !x.gone }); i >= 0 {
			at := w.sites[i]
			w.all.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				_ = at.broker.HandOver(ctx, []wire.ID{g.member.mesh})
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
	case nSteal:
		d.mu.Lock()
		if o, owned := d.registry.owners[g.member.mesh]; owned && d.registry.nodes[at.id] != nil && o.node != at.id && !d.registry.stolen[theft{g.member.mesh, at.id}] {
			d.registry.stolen[theft{g.member.mesh, o.node}] = true
			d.registry.owners[g.member.mesh] = ownership{node: at.id, since: time.Now()}
		}
		d.mu.Unlock()
	case nMove:
		d.mu.Lock()
		if o, owned := d.registry.owners[g.member.mesh]; owned {
			o.movesTo = at.id
			d.registry.owners[g.member.mesh] = o
		}
		d.mu.Unlock()
	case nMark:
		d.mu.Lock()
		if n := d.registry.nodes[at.id]; n != nil {
			n.Draining = !n.Draining
			at.marked = n.Draining
		}
		d.mu.Unlock()
	case nTurn:
		w.server.turn([]weather{fair, slow, failing, frozen, fair, fair}[s.mode%6])
	}
	w.mu.Unlock()
	time.Sleep(s.pause)
}

// calmTime is how long the nodes may take to deliver everything once the faults have ended.
const calmTime = time.Minute

func runCrowd(s schedule, broken sabotage) []string {
	w := newCrowd(s.seed, broken)
	w.mu.Lock()
	for range 3 {
		w.openLocked()
	}
	for _, g := range w.guests {
		w.all.Go(g.live)
	}
	w.mu.Unlock()
	time.Sleep(5 * time.Second) // from now on, all keys are known
	for _, st := range s.steps {
		w.do(st)
		if w.isBroken() {
			break
		}
	}
	w.server.turn(fair)
	w.unmark()
	time.Sleep(calmTime)
	w.mu.Lock()
	w.now = "the end"
	if len(w.broken) == 0 {
		w.checkLocked()
	}
	w.over = true
	w.cutLocked(func(*guest) bool { return true })
	sites := slices.Clone(w.sites)
	w.mu.Unlock()
	for _, at := range sites {
		w.replace(at, func() {
			_ = at.broker.Stop(context.Background())
			at.session.die(false)
		})
	}
	w.all.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// unmark withdraws what an operator has asked nodes to do.
func (w *crowd) unmark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.server.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range w.sites {
		if n := d.registry.nodes[s.id]; n != nil && s.marked {
			n.Draining = false
		}
	}
}

func (w *crowd) isBroken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.broken) > 0
}

// checkLocked checks that nothing is left to do.
func (w *crowd) checkLocked() {
	for _, g := range w.guests {
		if !g.here {
			w.violate("11: %s can't come back", g.name)
		}
		if g.acked < len(g.sent) {
			w.violate("11: %s was sent %d times and has no ack", g.sent[g.acked].id, g.asked)
		}
		for _, l := range g.sent[:g.acked] {
			if l.to.got[l.id] == 0 {
				w.violate("1: %s was acknowledged, but %s did not receive it", l.id, l.to.name)
			}
		}
	}
	for id := range w.server.meshes {
		if _, err := audit.VerifyMesh(context.Background(), w.server.disk, id); err != nil {
			w.violate("9: %v", err)
		}
	}
}

func tryCrowd(t *testing.T, s schedule, broken sabotage) (found []string) {
	t.Run(fmt.Sprint("seed ", s.seed), func(t *testing.T) {
		defer func() {
			if p := recover(); p != nil {
				found = append(found, fmt.Sprint("promise 11: ", p))
			}
		}()
		synctest.Test(t, func(*testing.T) { found = runCrowd(s, broken) })
	})
	return found
}

// TestCluster runs random schedules with three nodes that share a database, and shrinks
// the first that breaks a promise.
func TestCluster(t *testing.T) {
	t.Parallel()
	n := *schedules / 4
	if testing.Short() && !isSet("schedules") {
		n /= 5
	}
	for i := range uint64(max(n, 1)) {
		s := makeClusterSchedule(*firstSeed + i)
		if *keep != "" {
			s = s.only(parseIndexes(t, *keep))
		}
		if broken := tryCrowd(t, s, sabotage{}); broken != nil {
			least := shrink(s, func(s schedule) bool {
				for range again {
					if b := tryCrowd(t, s, sabotage{}); b != nil && promise(b) == promise(broken) {
						broken = b
						return true
					}
				}
				return false
			})
			t.Fatalf("seed %d breaks:\n  %s\nthe smallest schedule that breaks it, with -seed %d -schedules 1 -steps %s:\n%s",
				s.seed, strings.Join(broken, "\n  "), s.seed, least.indexes(), least.steps)
		}
	}
}

var errNotFound = errors.New("no schedule breaks a promise")

// TestClusterWithoutSafeguards checks that the simulation finds broken promises in a cluster
// without its safeguards.
func TestClusterWithoutSafeguards(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]sabotage{"fence": {noFence: true}, "suspension": {noSuspension: true}} {
		err := errNotFound
		for seed := uint64(1); seed <= 200 && err != nil; seed++ {
			synctest.Test(t, func(t *testing.T) {
				if found := runCrowd(makeClusterSchedule(seed), broken); found != nil {
					t.Logf("without the %s, seed %d: %s", name, seed, found[0])
					err = nil
				}
			})
		}
		if err != nil {
			t.Errorf("without the %s: %v", name, err)
		}
	}
}
