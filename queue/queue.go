package queue

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Journal gets into the store what the queue decides. Its methods do not block.
type Journal interface {
	// Accept takes an entry for the next batch.
	Accept(*Entry)
	// Settle takes an acknowledgement.
	Settle(Settling)
	// Close takes the end of a mailbox's recipient.
	Close(Closing)
}

// Settling is a settlement on its way into the store.
type Settling struct {
	Settlement
	box *mailbox
}

// Done is called by the journal once the settlement is stored.
func (s Settling) Done() { s.box.settled(s.Seq) }

// Settings are looked up whenever they are needed.
type Settings struct {
	// DeliveryLease is how long a push may go unacknowledged before it is pushed
	// again. It doubles with each repetition, up to an hour, until the recipient
	// acknowledges something or comes back.
	DeliveryLease time.Duration
	MeshBytes     int64 // that the messages that wait in a mesh may take, with their rows; 0: any number
}

// Queue accepts and delivers messages. See the package comment.
type Queue struct {
	store    Store
	journal  Journal
	settings func() Settings
	ids      wire.IDSource
	seq      atomic.Int64
	stats    counters

	ctx     context.Context // ends when the queue stops
	cancel  context.CancelFunc
	mu      sync.Mutex // guards stopped against new drains
	stopped bool
	drains  sync.WaitGroup

	seed    maphash.Seed
	shards  [64]shard
	open    openEntries
	senders histories
	usages  usages
}

type shard struct {
	mu    sync.Mutex
	boxes map[Mailbox]*mailbox
}

// New makes a queue. Start must be called before anything else.
func New(store Store, journal Journal, settings func() Settings) *Queue {
	q := &Queue{store: store, journal: journal, settings: settings, seed: maphash.MakeSeed()}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	for i := range q.shards {
		q.shards[i].boxes = make(map[Mailbox]*mailbox)
	}
	q.open.byID = make(map[wire.ID]*Entry)
	q.senders.byMember = make(map[memberRef]*history)
	q.usages.byMesh = make(map[wire.ID]*usage)
	return q
}

// Start continues where the store ends: ids and the order of deliveries never go
// back, even if the clock has.
func (q *Queue) Start(ctx context.Context) error {
	seq, err := q.store.LastSeq(ctx)
	if err != nil {
		return err
	}
	last, err := q.store.LastMessage(ctx)
	if err != nil {
		return err
	}
	q.seq.Store(max(seq, q.seq.Load()))
	if !last.IsZero() {
		q.ids.New(last.Time().Add(time.Millisecond))
	}
	return nil
}

// Stop ends all drains and waits for them. What was accepted stays accepted: the
// journal finishes it.
func (q *Queue) Stop() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.cancel()
	q.drains.Wait()
}

// begin and end count the drains at work; begin returns false when stopping.
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
	SameMember bool // sender and recipient are of one member
	// Unopened says that the recipient's client can't open the message: it is listed
	// as a recipient, and not sent the message.
	Unopened bool
}

// Errors after which the sender may try again.
var (
	ErrUnavailable = errors.New("storage is not available")
	ErrFull        = errors.New("too much is waiting for the storage")
	ErrMeshFull    = errors.New("as much waits in the mesh as may")
)

// Prepare must be called, without locks, before the first Accept of a member
// with a client id; it reads the member's earlier client ids once. It returns
// ErrUnavailable when the store can't be read.
func (q *Queue) Prepare(ctx context.Context, mesh, member wire.ID) error {
	return q.senders.load(ctx, q.store, memberRef{mesh, member})
}

// Accept takes a message for its recipients, which must not repeat a mailbox. It
// sets ID and CreatedAt. done is called exactly once, from any goroutine, maybe
// before Accept returns: with no error when the message is safe, with the same id
// as before when the member has sent the same ClientID already, with
// ErrUnavailable or ErrMeshFull when the message was not accepted and may be sent
// again. Whether the journal has room is for the caller to see to.
func (q *Queue) Accept(m Message, to []To, done func(Result)) {
	now := time.Now()
	m.ID, m.CreatedAt = q.ids.New(now), now.UTC().Truncate(time.Millisecond)
	e := q.entry(&m, to, done)
	q.open.add(e)
	if e.unacked > 0 { // else nothing waits
		if err := q.take(&e.accepted); err != nil {
			q.open.remove(e)
			if !q.Repeated(m.MeshID, m.SenderMember, m.ClientID, done) {
				done(Result{Err: err})
			}
			return
		}
	}
	if m.ClientID != "" {
		h := q.senders.get(memberRef{m.MeshID, m.SenderMember})
		if repeated := h.begin(e, done); repeated {
			q.open.remove(e)
			q.stats.repeated.Add(1)
			return
		}
		e.history = h
	}
	q.stats.accepted.Add(1)
	alone := e.unacked == 0
	q.offerAll(e)
	if alone {
		e.alone()
	}
	q.journal.Accept(e)
}

// entry makes the entry of a message. Those who can't open it are its last
// recipients, and have no slot.
func (q *Queue) entry(m *Message, to []To, done func(Result)) *Entry {
	e := &Entry{queue: q, done: []func(Result){done}}
	e.accepted = Accepted{Message: *m, Recipients: make([]Recipient, 0, len(to))}
	for _, unopened := range [...]bool{false, true} {
		for i := range to {
			t := &to[i]
			if t.Unopened != unopened {
				continue
			}
			r := Recipient{Seq: q.seq.Add(1), Mailbox: t.Mailbox, Key: t.Key, Name: t.Name, SameMember: t.SameMember}
			if unopened {
				r.Mailbox.Name = unopenedPrefix + r.Mailbox.Name
				r.State, r.SettledAt = Gone, m.CreatedAt
			}
			e.accepted.Recipients = append(e.accepted.Recipients, r)
		}
		if !unopened {
			e.unacked = len(e.accepted.Recipients)
			e.slots = make([]slot, e.unacked)
		}
	}
	return e
}

// offerAll puts the entry before every recipient. The frame is encoded at most
// twice however many recipients there are.
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

// Attach makes out the live connection of a mailbox; what waits in it is pushed,
// then what comes. urgentOnly closes the gate for everything but priority now.
func (q *Queue) Attach(addr Mailbox, out Outlet, urgentOnly bool) {
	for !q.box(addr).attach(out, urgentOnly) {
	}
}

// Detach undoes Attach, unless another connection has been attached since. What
// was pushed and not acknowledged waits for the next one.
func (q *Queue) Detach(addr Mailbox, out Outlet) {
	if b := q.find(addr); b != nil && b.detach(out) {
		q.drop(b)
	}
}

// Gate opens or closes a mailbox for what is not urgent.
func (q *Queue) Gate(addr Mailbox, out Outlet, urgentOnly bool) {
	if b := q.find(addr); b != nil {
		b.gate(out, urgentOnly)
	}
}

// Acknowledge records that out's recipient has a message: the one with the
// broker's id, else the oldest pushed with the client's id. It returns false
// when there is no such push in the mailbox.
func (q *Queue) Acknowledge(addr Mailbox, out Outlet, id wire.ID, clientID string) bool {
	b := q.find(addr)
	if b == nil || !b.acknowledge(out, id, clientID) {
		return false
	}
	q.stats.acknowledged.Add(1)
	return true
}

// End says that a mailbox's recipient is gone for good: what waits there is
// given up.
func (q *Queue) End(addr Mailbox) {
	q.journal.Close(Closing{addr, time.Now(), q.seq.Load()})
}

// ExpireLeases pushes again what has not been acknowledged in time. It is to be
// called every second or so.
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
	q.senders.forgetIdle(now)
	q.usages.forgetIdle(now)
}

// box returns the mailbox of an address, making it if need be.
func (q *Queue) box(addr Mailbox) *mailbox {
	s := q.shard(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.boxes[addr]
	if b == nil {
		b = &mailbox{addr: addr, queue: q, flights: make(map[wire.ID]*flight), settling: make(map[int64]time.Time)}
		s.boxes[addr] = b
	}
	return b
}

// find returns the mailbox of an address, nil when nothing is in memory.
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
	if !b.dropped && b.idle() {
		b.dropped = true
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

// encode makes a message's push frame. Between presences of one member it leaves
// out what a v1 daemon would take for its own echo.
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
