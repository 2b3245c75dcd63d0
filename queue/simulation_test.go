package queue_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

var (
	schedules = flag.Int("schedules", 300, "number of random schedules that the simulation runs")
	firstSeed = flag.Uint64("seed", 1, "seed of the first schedule")
)

// longestLease is longer than any lease: by then an unacknowledged push is pushed again.
const longestLease = time.Hour + time.Second

// TestSimulation runs random schedules of sends, acknowledgements, lost
// connections, gates, storage failures and crashes in virtual time, and checks the
// promises: every message whose sender was told that it is safe reaches every recipient;
// messages arrive in the order sent; and no message is pushed again after it was
// acknowledged, except if a crash made the broker forget the acknowledgement.
func TestSimulation(t *testing.T) {
	t.Parallel()
	for i := range *schedules {
		seed := *firstSeed + uint64(i)
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed).run() })
		})
		if !ok {
			t.Fatalf("run again with -seed %d -schedules 1", seed)
		}
	}
}

// world is one schedule: a store, the broker's core on top of it, senders and
// recipients.
type world struct {
	t     *testing.T
	rnd   *rand.Rand // decides the schedule
	store *memStore
	mesh  wire.ID

	queue   *queue.Queue
	inMesh  *queue.Mesh
	journal *journal.Journal
	stop    context.CancelFunc
	running sync.WaitGroup

	mu         sync.Mutex
	life       int // counts crashes
	away       bool
	refused    map[string]bool // client ids of messages refused at least once
	recipients []*recipient
	senders    []*sender
}

type sender struct {
	world  *world
	member wire.ID
	sent   []*intent
}

// intent is one message that a sender wants to get through.
type intent struct {
	clientID string
	index    int
	priority wire.Priority
	to       []*recipient
	safe     bool
}

type recipient struct {
	world *world
	box   queue.Mailbox
	out   *outlet // nil: not connected
	gate  bool

	arrived []string       // client ids, first arrivals only
	acked   map[string]int // client id → the broker's life in which it was acknowledged
	acks    float64        // probability that it acknowledges a push at once
}

// outlet is a connection of a recipient.
type outlet struct {
	recipient *recipient
	unacked   []wire.ID
	clients   []string
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, seed)), store: newMemStore(), mesh: wire.ID{1}, refused: make(map[string]bool)}
	luck := rand.New(rand.NewPCG(seed, ^seed)) // decides what the store does; guarded by w.mu
	latency := func() time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Duration(luck.IntN(5000)) * time.Microsecond
	}
	outcome := func() fault {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.away && luck.IntN(4) == 0:
			return storedButNo
		case w.away:
			return fails
		}
		return none
	}
	w.store.behave(latency, outcome)
	for i := range 1 + w.rnd.IntN(4) {
		w.recipients = append(w.recipients, &recipient{
			world: w, box: queue.Mailbox{Mesh: w.mesh, Name: fmt.Sprintf("s/%d", i)},
			acked: make(map[string]int), acks: []float64{1, 0.7, 0.1}[w.rnd.IntN(3)],
		})
	}
	for i := range 1 + w.rnd.IntN(3) {
		w.senders = append(w.senders, &sender{world: w, member: wire.ID{2, byte(i)}})
	}
	return w
}

func (w *world) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.journal = journal.New(w.store, zap.NewNop(), journal.DefaultBudget)
	w.queue, w.inMesh = open(w.t, w.store, w.journal, queue.Settings{DeliveryLease: 30 * time.Second})
	w.stop = stop
	j := w.journal
	w.running.Go(func() { j.Run(ctx) })
}

// crash ends the broker's core where it stands and starts a new one.
func (w *world) crash() {
	w.stop()
	w.queue.Stop()
	w.running.Wait()
	w.mu.Lock()
	w.life++
	w.mu.Unlock()
	for _, r := range w.recipients {
		r.out = nil
	}
	w.start()
}

func (w *world) run() {
	w.start()
	for range 300 {
		w.step()
		if err := w.queue.Check(); err != nil {
			w.t.Fatal(err)
		}
		if w.rnd.IntN(3) == 0 {
			time.Sleep(time.Duration(w.rnd.IntN(20_000)) * time.Microsecond)
		}
	}
	w.settle()
	w.check()
	w.stop()
	w.queue.Stop()
	w.running.Wait()
}

func (w *world) step() {
	r := w.recipients[w.rnd.IntN(len(w.recipients))]
	switch n := w.rnd.IntN(100); {
	case n < 55:
		w.senders[w.rnd.IntN(len(w.senders))].send()
	case n < 65:
		r.connect()
	case n < 70:
		r.disconnect()
	case n < 78:
		r.setGate(!r.gate)
	case n < 88:
		r.acknowledge()
	case n < 92:
		w.mu.Lock()
		w.away = !w.away
		w.mu.Unlock()
	case n < 94:
		time.Sleep(31 * time.Second << w.rnd.IntN(5)) // leases double
		w.queue.ExpireLeases()
	case n < 96:
		w.crash()
	default:
		w.senders[w.rnd.IntN(len(w.senders))].resend()
	}
}

// settle lets everything come to rest: the storage is back, and every recipient is
// connected, idle and acknowledges everything.
func (w *world) settle() {
	w.mu.Lock()
	w.away = false
	w.mu.Unlock()
	time.Sleep(time.Minute)
	for _, s := range w.senders {
		s.resend()
	}
	for _, r := range w.recipients {
		r.acks = 1
		r.setGate(false)
		if r.out == nil { // a connected recipient must get everything without reconnecting
			r.connect()
		}
	}
	for range 10 {
		time.Sleep(longestLease)
		w.queue.ExpireLeases()
		synctest.Wait()
		for _, r := range w.recipients {
			r.acknowledge()
		}
	}
	time.Sleep(time.Second)
}

func (w *world) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.senders {
		for _, m := range s.sent {
			if !m.safe {
				w.t.Errorf("%s is not safe although the storage is back", m.clientID)
			}
			for _, r := range m.to {
				if _, ok := r.acked[m.clientID]; !ok {
					w.t.Errorf("the sender was told that %s is safe, but it never reached %s", m.clientID, r.box.Name)
				}
			}
		}
		for _, r := range w.recipients {
			s.checkOrder(r)
		}
	}
	for _, r := range w.recipients {
		if n := w.store.pendingIn(r.box); n != 0 {
			w.t.Errorf("%d deliveries are pending for %s after everything was acknowledged", n, r.box.Name)
		}
	}
}

// checkOrder checks that messages that the gate treats alike arrived in the order sent.
func (s *sender) checkOrder(r *recipient) {
	byID := make(map[string]*intent)
	for _, m := range s.sent {
		byID[m.clientID] = m
	}
	last := map[bool]int{true: -1, false: -1}
	for _, clientID := range r.arrived {
		m := byID[clientID]
		if m == nil || s.world.refused[clientID] {
			continue // a refused message was sent again, so its place in the order has changed
		}
		urgent := m.priority == wire.Now
		if m.index < last[urgent] {
			s.world.t.Errorf("%s reached %s after message %d of the same sender", clientID, r.box.Name, last[urgent])
		}
		last[urgent] = m.index
	}
}

// attestation returns the sender's attestation. It differs by member and is nil for member 0.
func (s *sender) attestation() *wire.Attestation {
	if s.member[1] == 0 {
		return nil
	}
	return &wire.Attestation{ExpiresAt: int64(s.member[1]), SessionPubkey: "s", ParentMemberPubkey: "m", Signature: "g"}
}

func (s *sender) send() {
	w := s.world
	m := &intent{
		clientID: fmt.Sprintf("%x-%d", s.member[1], len(s.sent)), index: len(s.sent),
		priority: []wire.Priority{wire.Now, wire.Next, wire.Low}[w.rnd.IntN(3)],
	}
	for _, r := range w.recipients {
		if w.rnd.IntN(2) == 0 {
			m.to = append(m.to, r)
		}
	}
	w.mu.Lock()
	s.sent = append(s.sent, m)
	w.mu.Unlock()
	s.try(m)
}

// resend sends again the messages that are not known to be safe, and some of the others.
func (s *sender) resend() {
	for _, m := range s.sent {
		s.world.mu.Lock()
		safe := m.safe
		if !safe {
			s.world.refused[m.clientID] = true
		}
		s.world.mu.Unlock()
		if !safe || s.world.rnd.IntN(10) == 0 {
			s.try(m)
		}
	}
}

func (s *sender) try(m *intent) {
	w := s.world
	if err := w.inMesh.Prepare(context.Background(), s.member); err != nil {
		w.mu.Lock()
		w.refused[m.clientID] = true
		w.mu.Unlock()
		return
	}
	to := make([]queue.To, len(m.to))
	for i, r := range m.to {
		to[i] = queue.To{Mailbox: r.box, Name: r.box.Name}
	}
	life := w.life
	w.inMesh.Accept(queue.Message{
		SenderMember: s.member, Priority: m.priority, ClientID: m.clientID, TargetSpec: "*",
		SenderAttestation: s.attestation(), Nonce: "bm9uY2U=", Ciphertext: "Y2lwaGVydGV4dA==",
	}, to, func(result queue.Result) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case result.Err != nil:
			w.refused[m.clientID] = true
		case life == w.life: // an ack of a crashed broker does not reach the sender
			m.safe = true
		}
	})
}

func (r *recipient) connect() {
	r.out = &outlet{recipient: r}
	r.world.queue.Attach(r.box, r.out, r.gate)
}

func (r *recipient) disconnect() {
	if r.out != nil {
		r.world.queue.Detach(r.box, r.out)
		r.out = nil
	}
}

func (r *recipient) setGate(urgentOnly bool) {
	r.gate = urgentOnly
	if r.out != nil {
		r.world.queue.Gate(r.box, r.out, urgentOnly)
	}
}

// acknowledge acknowledges what was pushed over the current connection.
func (r *recipient) acknowledge() {
	out := r.out
	if out == nil {
		return
	}
	w := r.world
	w.mu.Lock()
	ids, clients := out.unacked, out.clients
	out.unacked, out.clients = nil, nil
	w.mu.Unlock()
	for i, id := range ids {
		skip := w.rnd.Float64() > r.acks
		w.mu.Lock()
		if !skip {
			r.acked[clients[i]] = w.life
		}
		w.mu.Unlock()
		if !skip {
			w.queue.Acknowledge(r.box, out, id, clients[i])
		}
	}
}

// Push implements queue.Outlet.
func (o *outlet) Push(data []byte) {
	var push struct {
		MessageID wire.ID `json:"messageId"`
		ClientID  string  `json:"client_message_id"`

		SenderMemberID    wire.ID           `json:"senderMemberId"`
		SenderAttestation *wire.Attestation `json:"senderAttestation"`
	}
	r, w := o.recipient, o.recipient.world
	if err := json.Unmarshal(data, &push); err != nil {
		w.t.Errorf("push: %v", err)
	}
	from := sender{member: push.SenderMemberID}
	if want := from.attestation(); (want == nil) != (push.SenderAttestation == nil) || want != nil && *want != *push.SenderAttestation {
		w.t.Errorf("%s came with the attestation %+v, want %+v", push.ClientID, push.SenderAttestation, want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := false
	for _, id := range r.arrived {
		seen = seen || id == push.ClientID
	}
	if !seen {
		r.arrived = append(r.arrived, push.ClientID)
	}
	if life, ok := r.acked[push.ClientID]; ok && life == w.life && !w.refused[push.ClientID] {
		w.t.Errorf("%s was pushed to %s again after it was acknowledged", push.ClientID, r.box.Name)
	}
	o.unacked = append(o.unacked, push.MessageID)
	o.clients = append(o.clients, push.ClientID)
}

// CaughtUp implements queue.Outlet.
func (o *outlet) CaughtUp() {}

// Flushed implements queue.Outlet.
func (o *outlet) Flushed() bool { return true }

func (o *outlet) Opens(*queue.Message) bool { return true }
