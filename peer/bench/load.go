package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// load holds the sessions of one run, and counters.
type load struct {
	config   Config
	settings Settings
	id       uint32 // first part of the ids of its messages
	began    time.Time

	over  context.Context // ends with the load
	end   context.CancelFunc
	tasks sync.WaitGroup // all goroutines of the load

	sessions []*session
	// recipient returns the recipient of a sender's message at a place. It is nil if the
	// messages go to a group.
	recipient func(sender, place int) int
	group     string // address of the group
	// onArrival is called by the recipient's reader for the first delivery of a message. It is
	// nil if messages have one recipient.
	onArrival func(to *session, place int, now time.Duration)
	// onRefused is called if the broker refuses a message, before onSettled.
	onRefused func(sender *session, reason string)
	// onSettled is called once a message of a sender is settled.
	onSettled func(sender *session)

	push, ack, late, hello histogram

	online                                      atomic.Int64
	sent, acked, refused, delivered             atomic.Uint64
	redelivered, duplicated, misordered, misled atomic.Uint64
	spoiled, disconnects, failedConnects        atomic.Uint64
	lastArrival                                 atomic.Int64 // time.Duration since began
	unsettled                                   atomic.Int64
	quiet                                       chan struct{} // signals that unsettled became 0
	allBack                                     chan struct{} // signals that all dropped sessions are back
	comebacks                                   atomic.Int64  // number of dropped sessions that are not back yet
	droppedAt                                   atomic.Int64  // time.Duration since began

	troubles troubles
}

func newLoad(ctx context.Context, c Config, s Settings) *load {
	l := &load{
		config: c, settings: s, id: rand.Uint32(), began: time.Now(),
		quiet: make(chan struct{}, 1), allBack: make(chan struct{}, 1),
	}
	l.over, l.end = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// now returns the time since the load began.
func (l *load) now() time.Duration { return time.Since(l.began) }

// add adds n sessions of a member, without connecting them.
func (l *load) add(n int, of *peer.Mesh, groups ...wire.Group) error {
	for range n {
		pair, err := identity.Generate()
		if err != nil {
			return fmt.Errorf("make a session key: %w", err)
		}
		i := len(l.sessions)
		l.sessions = append(l.sessions, &session{
			load: l, index: i, mesh: of, pair: pair, key: pair.Public(), target: pair.Public().String(),
			name: fmt.Sprintf("bench-%08x-%d", l.id, i), groups: groups, newest: make(map[uint32]int, 1),
		})
	}
	return nil
}

// connect connects all sessions, up to parallel at the same time. It fails if one of them can't
// connect.
func (l *load) connect(ctx context.Context, parallel int) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	next := make(chan *session)
	for range min(parallel, len(l.sessions)) {
		all.Go(func() {
			for s := range next {
				start := time.Now()
				ws, err := s.connect(ctx)
				if err != nil {
					fail(err) // keeps only the first error
					continue
				}
				l.hello.Record(time.Since(start))
				s.attach(ws)
				l.tasks.Go(func() { s.serve(ws) })
			}
		})
	}
	for _, s := range l.sessions {
		if ctx.Err() == nil {
			next <- s
		}
	}
	close(next)
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("connect %d sessions (%d are connected): %w", len(l.sessions), l.online.Load(), err)
	}
	return nil
}

// leaveTimeout limits how long closing all sessions may take.
const leaveTimeout = 2 * time.Minute

// close ends all sessions and waits for every goroutine.
func (l *load) close() {
	l.end()
	defer time.AfterFunc(leaveTimeout, l.cut).Stop() // cut only closes connections, and never waits
	var all sync.WaitGroup
	for part := range slices.Chunk(l.sessions, 1+len(l.sessions)/256) {
		all.Go(func() {
			for _, s := range part {
				s.leave()
			}
		})
	}
	all.Wait()
	l.tasks.Wait()
}

// address is the recipient of a message.
type address struct {
	spec  string
	key   wire.Key         // for one recipient
	group envelope.MeshKey // for a group
}

func (a address) seal(from *session, body []byte) (nonce, ciphertext string, err error) {
	if !a.group.IsZero() {
		return envelope.SealMesh(a.group, body)
	}
	return envelope.SealDirect(from.pair, a.key, body)
}

func (l *load) addressee(sender, place int) address {
	if l.recipient == nil {
		return address{spec: l.group, group: l.config.Mesh.Key}
	}
	to := l.sessions[l.recipient(sender, place)]
	return address{spec: to.target, key: to.key}
}

func (l *load) knows(sender uint32) bool {
	return int(sender) < len(l.sessions) && l.sessions[sender].draft != nil
}

func (l *load) bodyOf(sender uint32) []byte { return l.sessions[sender].draft.body }

// answered records the broker's answer to a send.
func (l *load) answered(s *session, place int, refusal string, now time.Duration) {
	o := s.ledger.acknowledge(place, refusal != "")
	if o.verdict != welcome {
		return
	}
	if refusal != "" {
		l.refused.Add(1)
		l.troubles.refusal(refusal)
		if l.onRefused != nil {
			l.onRefused(s, refusal)
		}
	} else {
		l.acked.Add(1)
		l.ack.Record(now - o.at)
	}
	if o.settled {
		l.settle(s)
	}
}

// arrived records a delivery. brokerID is the broker's id of the message; intact means that
// the body is the one that was sent.
func (l *load) arrived(to *session, id messageID, brokerID []byte, intact bool) {
	now, from := l.now(), l.sessions[id.sender]
	if l.recipient != nil && l.sessions[l.recipient(int(id.sender), id.place)] != to {
		l.misled.Add(1)
		l.troubles.note("at the wrong recipient: ", l.describe(to, id, brokerID))
		return
	}
	ledger := &from.ledger
	if l.recipient == nil {
		ledger = &to.ledger // a broadcast is in the ledger of each recipient
	}
	o := ledger.receive(id.place, hash(brokerID))
	switch o.verdict {
	case redelivered:
		l.redelivered.Add(1)
	case duplicated:
		l.duplicated.Add(1)
		l.troubles.note("duplicated: ", l.describe(to, id, brokerID))
	case welcome:
		l.delivered.Add(1)
		raise(&l.lastArrival, int64(now)) // another reader may have recorded a later one
		if !intact {
			l.spoiled.Add(1)
		}
		if newest := to.newest[id.sender]; id.place < newest {
			l.misordered.Add(1)
			l.troubles.note("out of order: ", fmt.Sprintf("%s, after number %d", l.describe(to, id, brokerID), newest-1))
		} else {
			to.newest[id.sender] = id.place + 1
		}
		if l.onArrival != nil {
			l.onArrival(to, id.place, now)
		} else {
			l.push.Record(now - o.at)
		}
	}
	if o.settled {
		l.settle(from)
	}
}

// raise sets a to v, unless a is higher.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// describe identifies a delivery, so that it can be found in the broker's log or database.
func (l *load) describe(to *session, id messageID, brokerID []byte) string {
	return fmt.Sprintf("%s, number %d of %s to %s", brokerID, id.place, l.sessions[id.sender].name, to.name)
}

func (l *load) settle(sender *session) {
	if l.unsettled.Add(-1) == 0 {
		signal(l.quiet)
	}
	if l.onSettled != nil {
		l.onSettled(sender)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drain waits until every message is settled, or until ctx or the load ends.
func (l *load) drain(ctx context.Context) {
	for l.unsettled.Load() > 0 {
		select {
		case <-l.quiet:
		case <-ctx.Done():
			return
		case <-l.over.Done():
			return
		}
	}
}

// cut ends the load and drops all connections, which unblocks every write that waits for the
// broker.
func (l *load) cut() {
	l.end()
	for _, s := range l.sessions {
		if ws := s.ws.Load(); ws != nil {
			_ = ws.CloseNow()
		}
	}
}

func (l *load) lostConnection(err error) {
	l.disconnects.Add(1)
	l.troubles.note("a connection was lost: ", err.Error())
}

func (l *load) failedConnect(err error) {
	l.failedConnects.Add(1)
	l.troubles.note("could not reconnect: ", err.Error())
}

func (l *load) brokerError(text string) { l.troubles.note("the broker reported an error: ", text) }

// returned records that a dropped session is back.
func (l *load) returned() {
	l.hello.Record(l.now() - time.Duration(l.droppedAt.Load()))
	if l.comebacks.Add(-1) == 0 {
		signal(l.allBack)
	}
}
