package queue

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Journal writes the queue's decisions to the store. Its methods do not block.
type Journal interface {
	// Accept takes an entry for the next batch.
	Accept(*Entry)
	// Settle takes an acknowledgement for the next batch.
	Settle(Settling)
	// Close gives up what waits in a mailbox, once everything accepted before is stored.
	Close(Closing)
}

// Settling is a settlement on its way into the store.
type Settling struct {
	Settlement
	box *mailbox
}

// Done must be called by the journal once the settlement is stored.
func (s Settling) Done() { s.box.settled(s.Seq) }

// Settings may change at any time: the queue reads them before each use.
type Settings struct {
	// DeliveryLease is how long a push may go unacknowledged before it is pushed
	// again. It doubles with each repetition, up to an hour, until the recipient
	// acknowledges something or comes back.
	DeliveryLease time.Duration
	// MeshBytes bounds what the waiting messages of a mesh may take in the store, rows
	// included, in bytes. 0 means no limit.
	MeshBytes int64
	// Gap is how many numbers of deliveries a mesh leaves out when it is loaded. Another
	// broker that has lost the mesh may have given some of them to deliveries that it could
	// not store, and may yet speak of them.
	Gap int64
}

// Queue accepts and delivers messages. See the package comment.
type Queue struct {
	store    Store
	journal  Journal
	settings func() Settings
	failed   func(error) // see OnFailure
	stats    counters
	traces   traces

	ctx     context.Context // ends when the queue stops
	cancel  context.CancelFunc
	mu      sync.Mutex // guards stopped
	stopped bool
	drains  sync.WaitGroup

	seed   maphash.Seed
	shards [64]shard
	meshes meshes
}

type shard struct {
	mu    sync.Mutex
	boxes map[Mailbox]*mailbox
}

// New returns a queue that has no meshes yet; see Load.
func New(store Store, journal Journal, settings func() Settings) *Queue {
	q := &Queue{store: store, journal: journal, settings: settings, failed: func(error) {}, seed: maphash.MakeSeed()}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	for i := range q.shards {
		q.shards[i].boxes = make(map[Mailbox]*mailbox)
	}
	q.meshes.byID = make(map[wire.ID]*Mesh)
	return q
}

// OnFailure sets the function that is told when the queue, in the background, can't read the store.
// The queue tries again. Call it before anything else. do must not block.
func (q *Queue) OnFailure(do func(error)) { q.failed = do }

// readFailed reports a failure in the background, unless the queue is stopping.
func (q *Queue) readFailed(err error) {
	if q.ctx.Err() == nil {
		q.failed(err)
	}
}

// Stop ends all drains and waits for them. Messages that were accepted stay accepted:
// the journal stores them.
func (q *Queue) Stop() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.cancel()
	q.drains.Wait()
}

// begin and end count the queue's goroutines. begin returns false once the queue is
// stopping.
func (q *Queue) begin() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return false
	}
	q.drains.Add(1)
	return true
}

func (q *Queue) end() { q.drains.Done() }

// To is a recipient of a message that is being accepted.
type To struct {
	Mailbox    Mailbox
	Key        wire.Key
	Name       string
	SameMember bool // sender and recipient belong to one member
	// Unopened says that the recipient's client can't open the message. The message
	// lists the recipient but is not sent to it.
	Unopened bool
}

// Errors after which the sender may try again.
var (
	ErrUnavailable = errors.New("storage unavailable")
	ErrFull        = errors.New("too many messages wait for the storage")
	ErrMeshFull    = errors.New("the mesh's queue is full")
)

// offerAll offers the entry to every recipient's mailbox. It encodes the frame at most
// twice, however many recipients there are.
func (q *Queue) offerAll(e *Entry) {
	var frames [2][]byte
	for i := range e.slots {
		r := &e.accepted.Recipients[i]
		variant := 0
		if r.SameMember {
			variant = 1
		}
		if frames[variant] == nil {
			frames[variant] = encode(&e.accepted.Message, r.SameMember)
		}
		for !q.box(r.Mailbox).offer(e, i, frames[variant]) {
		}
	}
}

// Attach sets the connection of a mailbox's recipient. The queue pushes what waits
// there, then what arrives. With urgentOnly, only messages of priority now pass the gate.
func (q *Queue) Attach(addr Mailbox, out Outlet, urgentOnly bool) {
	for !q.box(addr).attach(out, urgentOnly) {
	}
}

// Detach undoes Attach, unless another connection has been attached since. Deliveries
// that were pushed and not acknowledged wait for the next connection.
func (q *Queue) Detach(addr Mailbox, out Outlet) {
	if b := q.find(addr); b != nil && b.detach(out) {
		q.drop(b)
	}
}

// Gate opens or closes the gate of a mailbox for messages that are not urgent.
func (q *Queue) Gate(addr Mailbox, out Outlet, urgentOnly bool) {
	if b := q.find(addr); b != nil {
		b.setGate(out, urgentOnly)
	}
}

// Acknowledge records that out's recipient has received a message: the one with the
// broker's id, else the oldest push with the client's id. It returns false if the
// mailbox has no such push in flight.
func (q *Queue) Acknowledge(addr Mailbox, out Outlet, id wire.ID, clientID string) bool {
	b := q.find(addr)
	if b == nil || !b.acknowledge(out, id, clientID) {
		return false
	}
	q.stats.acknowledged.Add(1)
	return true
}

// ExpireLeases redelivers pushes that were not acknowledged in time. Call it about once
// a second.
func (q *Queue) ExpireLeases() {
	now := time.Now()
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		boxes := make([]*mailbox, 0, len(s.boxes))
		for _, b := range s.boxes {
			boxes = append(boxes, b)
		}
		s.mu.Unlock()
		for _, b := range boxes {
			b.expireLeases(now)
		}
	}
	q.meshes.each(func(m *Mesh) { m.senders.forgetIdle(now) })
}

// box returns the mailbox of an address, and makes it if it does not exist.
func (q *Queue) box(addr Mailbox) *mailbox {
	s := q.shard(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[addr]
	if b == nil {
		b = newMailbox(addr, q)
		s.boxes[addr] = b
	}
	return b
}

// find returns the mailbox of an address, or nil if it is not in memory.
func (q *Queue) find(addr Mailbox) *mailbox {
	s := q.shard(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boxes[addr]
}

// drop forgets a mailbox that is still idle.
func (q *Queue) drop(b *mailbox) {
	s := q.shard(b.addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.idleLocked() {
		b.becomeLocked(dropped)
		delete(s.boxes, b.addr)
	}
}

func (q *Queue) shard(addr Mailbox) *shard {
	return &q.shards[maphash.Comparable(q.seed, addr)%uint64(len(q.shards))]
}

// Room for the fields of a push frame beside its body, so that a frame is allocated
// once.
const (
	frameRoom       = 640
	attestationRoom = 384
)

// encode returns a message's push frame. Between presences of one member it omits the
// fields by which a v1 daemon would mistake the message for an echo of its own.
func encode(m *Message, sameMember bool) []byte {
	room := frameRoom + len(m.Nonce) + len(m.Ciphertext)
	if m.SenderAttestation != nil {
		room += attestationRoom
	}
	p := wire.Push{
		MessageID: m.ID.String(), MeshID: m.MeshID, SenderPubkey: m.SenderKey, SenderName: m.SenderName,
		Priority: m.Priority, Nonce: m.Nonce, Ciphertext: m.Ciphertext, CreatedAt: m.CreatedAt,
		ClientID: m.ClientID, Fingerprint: m.Fingerprint, Topic: m.Topic, ReplyTo: m.ReplyTo,
		Mentions: m.Mentions, BodyVersion: m.BodyVersion, KeyEpoch: m.KeyEpoch, SenderAttestation: m.SenderAttestation,
		TargetSpec: wire.ForMany(m.TargetSpec),
	}
	if !sameMember {
		p.SenderMemberPubkey, p.SenderMemberID = m.SenderMemberKey, m.SenderMember
	}
	return p.AppendJSON(make([]byte, 0, room))
}
