package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// connectTimeout limits one connection with its handshake. It is long, because in a storm the
// broker handles thousands at once.
const connectTimeout = 30 * time.Second

// session is one session of the load. It reconnects until the load ends.
type session struct {
	// static after construction
	load   *load
	index  int
	mesh   *peer.Mesh
	pair   identity.KeyPair
	key    wire.Key
	target string // its address
	name   string
	groups []wire.Group

	ws      atomic.Pointer[websocket.Conn] // the newest connection
	dropped atomic.Bool                    // dropped by the storm, and not back yet

	// guarded by sending. It is held while a frame is written, and while unanswered messages
	// are sent again, so that messages are sent in the order of their places.
	sending sync.Mutex
	draft   *draft
	ledger  ledger

	// acks wait to be written. The reader must not write them itself: while it waits for the
	// broker to read, the broker may wait for the reader.
	ackMu   sync.Mutex
	acks    []clientAck
	writing bool

	// owned by the reader
	frame  bytes.Buffer
	newest map[uint32]int // per sender: the place after its newest message
}

type clientAck struct {
	clientID [idLen]byte
	brokerID string
}

// connect opens a connection and does the handshake. ctx limits only this.
func (s *session) connect(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	// Two hellos with the same key in the same millisecond are identical, so the broker
	// refuses the second as a replay.
	for tries := 5; ; tries-- {
		ws, err := s.connectOnce(ctx)
		var refused *peer.HelloError
		if tries == 0 || !errors.As(err, &refused) || refused.Code != wire.CodeReplayed || !pause(ctx, 5*time.Millisecond) {
			return ws, err
		}
	}
}

func (s *session) connectOnce(ctx context.Context) (*websocket.Conn, error) {
	//nolint:bodyclose // the documentation of Dial says not to close the body
	ws, _, err := websocket.Dial(ctx, s.mesh.BrokerURL, &websocket.DialOptions{HTTPClient: s.load.config.HTTPClient})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.mesh.BrokerURL, err)
	}
	ws.SetReadLimit(maxFrame)
	hello, err := s.hello(time.Now())
	if err == nil {
		err = ws.Write(ctx, websocket.MessageText, hello)
	}
	if err == nil {
		err = awaitHelloAck(ctx, ws)
	}
	if err != nil {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return ws, nil
}

func awaitHelloAck(ctx context.Context, ws *websocket.Conn) error {
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		frame, err := wire.ParseFrame(data)
		if err != nil {
			return err
		}
		switch frame.Type {
		case wire.TypeHelloAck:
			return nil
		case wire.TypeError:
			refusal, err := wire.DecodeError(&frame)
			if err != nil {
				return err
			}
			return &peer.HelloError{Code: refusal.Code, Message: refusal.Message}
		}
	}
}

// serve reads and reconnects until the load ends.
func (s *session) serve(ws *websocket.Conn) {
	for ws != nil {
		err := s.read(ws)
		_ = ws.CloseNow() // unblocks a write that waits for the broker
		s.load.online.Add(-1)
		if s.load.over.Err() != nil {
			return
		}
		if !s.dropped.Load() {
			s.load.lostConnection(err)
		}
		ws = s.reconnect()
	}
}

// reconnect returns the new connection, or nil if the load has ended.
func (s *session) reconnect() *websocket.Conn {
	const longestWait = 2 * time.Second
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, longestWait) {
		ws, err := s.connect(s.load.over)
		if err == nil {
			s.sending.Lock()
			s.attach(ws)
			s.load.tasks.Go(func() {
				defer s.sending.Unlock()
				s.repeatLocked()
			})
			if s.load.over.Err() != nil {
				_ = ws.CloseNow() // close may have missed this connection
			}
			return ws
		}
		if s.load.over.Err() != nil {
			return nil
		}
		s.load.failedConnect(err)
		if !pause(s.load.over, wait/2+rand.N(wait/2)) {
			return nil
		}
	}
}

func (s *session) attach(ws *websocket.Conn) {
	s.ws.Store(ws)
	s.load.online.Add(1)
	if s.dropped.CompareAndSwap(true, false) {
		s.load.returned()
	}
}

// read serves frames until the connection ends.
func (s *session) read(ws *websocket.Conn) error {
	for {
		_, r, err := ws.Reader(context.Background()) // closing the connection ends it
		if err != nil {
			return err
		}
		s.frame.Reset()
		if _, err := s.frame.ReadFrom(r); err != nil {
			return err
		}
		if err := s.take(s.frame.Bytes()); err != nil {
			return err
		}
	}
}

// take handles a frame. It ignores frames that don't belong to the load.
func (s *session) take(frame []byte) error {
	switch {
	case bytes.HasPrefix(frame, pushStart):
		if bytes.Contains(frame, systemMark) {
			return nil
		}
		return s.takePush(frame)
	case bytes.HasPrefix(frame, ackStart):
		return s.takeAck(frame)
	}
	parsed, err := wire.ParseFrame(frame)
	if err != nil {
		return err
	}
	switch parsed.Type {
	case wire.TypePush:
		if parsed.Subtype() != wire.SubtypeSystem {
			return s.takePush(frame)
		}
	case wire.TypeAck:
		return s.takeAck(frame)
	case wire.TypeError:
		e, err := wire.DecodeError(&parsed)
		if err != nil {
			return err
		}
		s.load.brokerError(fmt.Sprintf("%s: %s", e.Code, e.Message))
	}
	return nil
}

func (s *session) takeAck(frame []byte) error {
	now := s.load.now()
	a, err := readAck(frame)
	if err != nil {
		return err
	}
	id, ok := parseMessageID(a.id, s.load.id)
	if !ok || int(id.sender) != s.index {
		return nil
	}
	s.load.answered(s, id.place, a.refusal, now)
	return nil
}

func (s *session) takePush(frame []byte) error {
	crypto := s.load.settings.Crypto
	d, err := readPush(frame, crypto)
	if err != nil {
		return err
	}
	id, ok := parseMessageID(d.clientID, s.load.id)
	if !ok || !s.load.knows(id.sender) {
		return nil
	}
	intact := true
	if crypto {
		body, err := open(s.pair, s.mesh.Key, d.push)
		intact = err == nil && bytes.Equal(body, s.load.bodyOf(id.sender))
	}
	s.load.arrived(s, id, d.messageID, intact)
	s.confirm(d)
	return nil
}

// confirm acknowledges a delivery.
func (s *session) confirm(d delivery) {
	a := clientAck{brokerID: string(d.messageID)}
	copy(a.clientID[:], d.clientID)
	s.ackMu.Lock()
	defer s.ackMu.Unlock()
	s.acks = append(s.acks, a)
	if !s.writing {
		s.writing = true
		s.load.tasks.Go(s.writeAcks)
	}
}

// writeAcks writes acks until there are none left. After an error it drops them: the broker
// redelivers those messages.
func (s *session) writeAcks() {
	var batch []clientAck
	var frame []byte
	for {
		s.ackMu.Lock()
		batch, s.acks = s.acks, batch[:0]
		if len(batch) == 0 {
			s.writing = false
			s.ackMu.Unlock()
			return
		}
		s.ackMu.Unlock()
		for i := range batch {
			frame = appendClientAck(frame[:0], batch[i].clientID[:], []byte(batch[i].brokerID))
			if s.ws.Load().Write(context.Background(), websocket.MessageText, frame) != nil {
				break
			}
		}
	}
}

// send writes the next message. at is the time at which it was due; a negative value means now.
// It ignores errors: after a reconnect, the session sends unanswered messages again.
func (s *session) send(at time.Duration) {
	s.sending.Lock()
	defer s.sending.Unlock()
	now := s.load.now()
	if at < 0 {
		at = now
	} else {
		s.load.late.Record(now - at)
	}
	s.load.unsettled.Add(1)
	s.load.sent.Add(1)
	s.writeLocked(s.ledger.add(at))
}

// repeatLocked sends the unanswered messages again. The caller holds sending.
func (s *session) repeatLocked() {
	for _, place := range s.ledger.unanswered() {
		s.writeLocked(place)
	}
}

// writeLocked writes the message at a place. The caller holds sending.
func (s *session) writeLocked(place int) {
	to := s.load.addressee(s.index, place)
	s.draft.set(messageID{s.load.id, uint32(s.index), place}, to.spec)
	if s.load.settings.Crypto {
		nonce, ciphertext, err := to.seal(s, s.draft.body)
		if err != nil {
			s.load.troubles.note("a message could not be sealed: ", err.Error())
			return
		}
		s.draft.seal(nonce, ciphertext)
	}
	_ = s.ws.Load().Write(context.Background(), websocket.MessageText, s.draft.frame)
}

// leave closes the session normally.
func (s *session) leave() {
	if ws := s.ws.Load(); ws != nil {
		_ = ws.Close(websocket.StatusNormalClosure, "")
	}
}

// pause waits for d. It reports false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
