package simulation

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// The broker's settings are shorter than its defaults, so that schedules need not last for days:
// virtual time costs nothing, but the broker's work in every second does.
const (
	presenceLease = 20 * time.Second
	deliveryLease = 6 * time.Second
	statusTTL     = 15 * time.Second
	hookWindow    = 5 * time.Second
	retention     = 5 * time.Minute
	pingInterval  = 6 * time.Second
	pongTimeout   = 15 * time.Second
	budget        = 200_000                               // few messages fill it
	hookHold      = 10*time.Second + 500*time.Millisecond // fixed
	helloTimeout  = 10 * time.Second
)

func settings() broker.Settings {
	s := broker.DefaultSettings()
	s.PresenceLease, s.DeliveryLease, s.StatusTTL, s.HookFreshWindow = presenceLease, deliveryLease, statusTTL, hookWindow
	s.MessageRetention, s.PingInterval, s.PongTimeout, s.HelloTimeout = retention, pingInterval, pongTimeout, helloTimeout
	s.SendRatePerMin, s.SendBurst, s.HookRateLimitPerMin = 1_000_000, 1_000_000, 1_000_000
	s.WorkPerMin, s.WorkBurst, s.NewSessionsPerHour = 1_000_000_000, 1_000_000_000, 1_000_000_000
	return s
}

// epoch is when time begins in a bubble of synctest.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

var groupNames = []string{"red", "red/dark", "blue"}

// world is one run of a schedule: a storage, the broker over it, and its peers. Its lock guards the
// ledger. No function waits while it holds the lock.
type world struct {
	seed    uint64
	server  *server
	session *session
	broker  *broker.Broker
	clients sync.WaitGroup
	life    int // number of brokers so far

	mu      sync.Mutex
	cast    []*peer
	peers   map[string]*peer
	intents []*intent
	byID    map[string]*intent
	jumped  time.Time // when the clock was set last
	now     string    // the present step, for messages
	broken  []string
}

// luck returns a random number that depends only on the seed and on parts, which say what the
// number is for.
func (w *world) luck(parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, parts)
	return h.Sum64()
}

// keys are made once, because their values don't matter.
var keys = sync.OnceValue(func() []identity.KeyPair {
	var list []identity.KeyPair
	for i := range 32 {
		list = append(list, identity.FromSeed([identity.SeedSize]byte{1, byte(i)}))
	}
	return list
})

// newWorld makes the peers: one or two meshes of two or three members, some of whom have the same
// keys in both.
func newWorld(seed uint64) *world {
	w := &world{seed: seed, peers: make(map[string]*peer), byID: make(map[string]*intent)}
	w.server = newServer(w.luck)
	rnd := rand.New(rand.NewPCG(seed, 0xca57))
	members := 2 + rnd.IntN(2)
	for i := range 1 + rnd.IntN(5)/3 {
		id := wire.ID{byte(i + 1)}
		w.server.meshes[id] = mesh.Mesh{ID: id, Slug: fmt.Sprint("mesh-", i), Name: fmt.Sprint("Mesh ", i), Owner: keys()[0].Public(), CreatedAt: epoch}
		for j := range members - i {
			m := &member{mesh: id, id: wire.ID{byte(i + 1), byte(j + 1)}, keys: keys()[j]}
			role := mesh.Normal
			if j == 0 {
				role = mesh.Owner
			}
			w.server.members[id] = append(w.server.members[id], mesh.Member{
				ID: m.id, MeshID: id, Key: m.keys.Public(), DisplayName: fmt.Sprint("member ", j), Role: role, JoinedAt: epoch,
			})
			name := fmt.Sprintf("%c%d", 'a'+i, j)
			if rnd.IntN(2) == 0 {
				w.enlist(m, name+"d", identity.KeyPair{})
			}
			for k := range 1 + rnd.IntN(2) {
				w.enlist(m, fmt.Sprint(name, "s", k), keys()[8+4*j+k])
			}
		}
	}
	return w
}

func (w *world) enlist(m *member, name string, session identity.KeyPair) {
	p := &peer{
		world: w, name: name, member: m, keys: session, addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(len(w.cast))}), visible: true,
		groups: make(map[string]bool), unsure: make(map[string]bool), mood: mood(w.luck(name) % 3),
		status: statusModel{known: true, value: wire.Idle, source: presence.JSONL, since: epoch},
	}
	for _, g := range groupNames {
		p.groups[g] = w.luck(name, g)%2 == 0
	}
	w.cast = append(w.cast, p)
	w.peers[name] = p
}

func (w *world) inMesh(id wire.ID) []*peer {
	var list []*peer
	for _, p := range w.cast {
		if p.member.mesh == id {
			list = append(list, p)
		}
	}
	return list
}

// violateLocked records a broken promise. The text begins with the number of the promise.
func (w *world) violateLocked(format string, args ...any) {
	if len(w.broken) < 5 {
		w.broken = append(w.broken, fmt.Sprintf("%s, in %q: promise ", time.Since(epoch).Round(time.Millisecond), w.now)+fmt.Sprintf(format, args...))
	}
}

func (w *world) start() {
	w.session = w.server.connect()
	w.broker = broker.New(broker.Options{Storage: w.session, Settings: settings(), Log: zap.NewNop(), Version: "simulation", Budget: budget})
	w.life++
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := w.broker.Start(ctx); err != nil {
		w.mu.Lock()
		w.violateLocked("11: start: %v", err)
		w.mu.Unlock()
	}
}

// settled returns the time before which everything that happened must be committed, if the storage
// is healthy.
func (w *world) settled() time.Time {
	const enough = 4 * time.Second
	if w.server.fairFor() < 2*enough {
		return time.Time{}
	}
	return time.Now().Add(-enough)
}

// crash ends the broker at once. landing says whether the commit that is under way takes place, and
// jump how far the clock is set before the next broker starts.
func (w *world) crash(landing bool, jump time.Duration) {
	strict := w.settled()
	w.mu.Lock()
	for _, p := range w.cast {
		for _, c := range p.conns {
			c.link.cut(true)
		}
	}
	w.mu.Unlock()
	w.session.die(landing)
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.broker.Stop(dead) // Go can't kill goroutines, but theirs have no effect any more
	if jump != 0 {
		w.jump(jump)
	}
	w.reload(strict)
	w.start()
}

// jump sets the clock. Virtual time can't be set, so the past is moved instead.
func (w *world) jump(by time.Duration) {
	w.server.shift(by)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jumped = time.Now()
	for _, m := range w.intents {
		if m.tries > 0 {
			m.lapsed = m.expired(w.jumped)
			m.first = m.first.Add(-by)
		}
	}
}

// restart stops the broker in an orderly way. If Stop succeeds, nothing may be lost.
func (w *world) restart() {
	strict := w.settled()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if w.broker.Ready(ctx) != nil {
		strict = time.Time{}
	} else if err := w.broker.Stop(ctx); err == nil {
		strict = time.Now()
	}
	_ = w.broker.Stop(ctx)
	w.session.die(true)
	w.reload(strict)
	w.start()
}

// reload checks that what happened before strict is committed, and sets the models to what the
// storage has.
func (w *world) reload(strict time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, p := range w.cast {
		p.reload(now, strict)
	}
	for _, m := range w.intents {
		m.reload(strict)
	}
}

// reload does for a message what peer.reload does for a presence.
func (m *intent) reload(strict time.Time) {
	w := m.from.world
	if _, stored := w.server.holds(clientKey{m.from.member.mesh, m.from.member.id, m.id}); !stored && m.tries > 0 {
		m.loose = true
		if m.safe && !m.forgotten && (m.safeAt.Before(strict) || !m.everybodyHasIt()) {
			w.violateLocked("1: %s was acknowledged at %s, but the storage does not have it", m, clock(m.safeAt))
		}
		m.forgotten = m.safe // it was safe because every recipient had it
	}
	for id, acks := range m.acks {
		for box, at := range acks {
			state, stored := w.server.state(id, box)
			if stored && state != 0 {
				continue
			}
			if at.Before(strict) && !m.loose {
				w.violateLocked("2: %s was acknowledged by %s at %s, but the storage does not have that", m, box, clock(at))
			}
			delete(acks, box)
		}
	}
}

// everybodyHasIt reports whether all peers that must get the message have acknowledged it.
func (m *intent) everybodyHasIt() bool {
	if m.aim < atGroup {
		return len(m.answered) > 0
	}
	for p := range m.must {
		if !m.answered[p] {
			return false
		}
	}
	return true
}

// loaded records that the broker has certainly loaded a mesh by now.
func (w *world) loaded(id wire.ID, now time.Time) {
	for _, p := range w.inMesh(id) {
		if m := &p.presence; m.restored {
			m.restored = false
			p.status.restless, p.status.maybe = 0, now
			m.maybeUntil = later(m.maybeUntil, now.Add(presenceLease+3*time.Second))
		}
	}
}

// run runs a schedule and returns the promises that it breaks.
func run(s schedule) []string {
	w := newWorld(s.seed)
	w.start()
	for _, st := range s.steps {
		w.enter(st.String())
		w.do(st)
		if w.pause(st.pause); w.isBroken() {
			break
		}
	}
	if !w.isBroken() {
		w.settle()
	}
	w.finish()
	return w.broken
}

// finish ends everything that runs.
func (w *world) finish() {
	w.server.turn(fair)
	w.mu.Lock()
	for _, p := range w.cast {
		for _, c := range p.conns {
			c.link.cut(true)
		}
	}
	w.mu.Unlock()
	_ = w.broker.Stop(context.Background())
	w.clients.Wait()
}

func (w *world) enter(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = what
}

func (w *world) isBroken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.broken) > 0
}

func (w *world) pause(d time.Duration) {
	if d > 0 {
		w.rest()
		time.Sleep(d)
	}
	if d >= 0 {
		w.rest()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refine()
}

func (w *world) refine() {
	now := time.Now()
	for _, m := range w.intents {
		m.refine(now)
	}
}

// rest waits until everything that can happen now has happened, and checks what must hold then.
func (w *world) rest() {
	synctest.Wait()
	w.mu.Lock()
	for _, p := range w.cast {
		for _, c := range p.conns {
			c.sync()
		}
	}
	w.mu.Unlock()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resolve()
	w.refine()
	w.checkRest()
}
