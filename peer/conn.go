package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// The client's timings are those of protocol v1, section 1.
const (
	dialTimeout   = 10 * time.Second
	helloTimeout  = 5 * time.Second
	writeTimeout  = 10 * time.Second
	pingEvery     = 30 * time.Second
	silenceLimit  = 75 * time.Second
	probeLimit    = 5 * time.Second // for the answer to a probe
	maxFrameBytes = 64 << 20        // the roster of a full mesh is the longest frame
	pushBuffer    = 256             // received messages that wait for OnMessage; then reading waits

	// closeGrace is how long a failed write waits for the reader to find out why.
	closeGrace = time.Second

	// A session's connection is made anew, within its lease and so unnoticed,
	// before the attestation that goes out with its messages ends.
	renewAfter  = identity.DefaultAttestationTTL - time.Hour
	renewSpread = time.Hour
)

// conn is one connection to the broker. It ends once, with a cause.
type conn struct {
	ws  *websocket.Conn
	ack wire.HelloAck // static after the handshake

	ctx  context.Context // ends with the connection, with its cause
	fail context.CancelCauseFunc

	start time.Time
	renew time.Duration // after which the connection is to be made anew; 0: never
	heard atomic.Int64  // when traffic last came, as a time.Duration since start
	large atomic.Int64  // bytes of the largest frame that was written

	received chan received // from the read loop to the deliver loop

	mu      sync.Mutex
	waiting map[string]chan wire.Frame // by _reqId, or by the id of a send
}

// received is something for the application: a message, a system push, word of a
// changed roster or, when there is none of these, the end of the backlog.
type received struct {
	push   *wire.Push
	system *wire.SystemPush
	roster bool
}

// skewLimit bounds how far a hello's time follows the broker's clock, so that no broker
// gets a word of ours for a far future.
const skewLimit = 24 * time.Hour

// dial connects and says hello. ctx bounds the handshake only. Where the broker finds
// this machine's clock wrong, the hello is signed by the broker's.
func dial(ctx context.Context, o *Options) (*conn, error) {
	c, err := dialAt(ctx, o, o.skew.ahead())
	var refused *HelloError
	if !errors.As(err, &refused) || refused.Skew == 0 || refused.Skew.Abs() > skewLimit || refused.Skew == o.skew.ahead() {
		return c, err
	}
	o.skew.set(refused.Skew)
	o.Logger.Warn("this machine's clock is wrong; signing by the broker's", "ahead", refused.Skew)
	return dialAt(ctx, o, refused.Skew)
}

// skew is by how much this machine's clock is ahead of a broker's, as far as known.
type skew struct{ duration atomic.Int64 }

func (s *skew) ahead() time.Duration    { return time.Duration(s.duration.Load()) }
func (s *skew) set(ahead time.Duration) { s.duration.Store(int64(ahead)) }

// dialAt is dial with a hello that is signed for a time that much before now.
func dialAt(ctx context.Context, o *Options, ahead time.Duration) (*conn, error) {
	c := &conn{
		start:    time.Now(),
		received: make(chan received, pushBuffer),
		waiting:  make(map[string]chan wire.Frame),
	}
	if !o.Session.IsZero() {
		c.renew = renewAfter - rand.N(renewSpread)
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	//nolint:bodyclose // the response's body belongs to the library, which says not to close it
	ws, resp, err := websocket.Dial(dialCtx, o.Mesh.BrokerURL, &websocket.DialOptions{
		HTTPClient:     o.HTTPClient,
		OnPingReceived: func(context.Context, []byte) bool { c.hear(); return true },
		OnPongReceived: func(context.Context, []byte) { c.hear() },
	})
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusMisdirectedRequest {
			err = httpError(resp) // which says what is served there
		}
		return nil, fmt.Errorf("connect to %s: %w", o.Mesh.BrokerURL, err)
	}
	ws.SetReadLimit(maxFrameBytes)
	c.ws = ws
	c.ctx, c.fail = context.WithCancelCause(context.WithoutCancel(ctx))

	helloCtx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if err := c.handshake(helloCtx, o, resp, ahead); err != nil {
		c.fail(err)
		_ = ws.CloseNow()
		return nil, err
	}
	return c, nil
}

// handshake says hello and waits for the answer.
func (c *conn) handshake(ctx context.Context, o *Options, resp *http.Response, ahead time.Duration) error {
	hello, err := o.hello(time.Now().Add(-ahead))
	if err != nil {
		return err
	}
	if err := c.ws.Write(ctx, websocket.MessageText, hello); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	for {
		_, b, err := c.ws.Read(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for hello_ack: %w", ctx.Err())
		}
		if err != nil {
			return fmt.Errorf("wait for hello_ack: %w", closedBy(err))
		}
		frame, err := wire.ParseFrame(b)
		if err != nil {
			return fmt.Errorf("wait for hello_ack: %w", err)
		}
		switch frame.Type {
		case wire.TypeHelloAck:
			if c.ack, err = wire.DecodeHelloAck(&frame); err != nil {
				return fmt.Errorf("read hello_ack: %w", err)
			}
			c.hear()
			return nil
		case wire.TypeError:
			refusal, err := wire.DecodeError(&frame)
			if err != nil {
				return fmt.Errorf("read error: %w", err)
			}
			e := &HelloError{Code: refusal.Code, Message: refusal.Message}
			if e.Code == wire.CodeTimestampSkew {
				e.Skew = skewFrom(resp)
			}
			return e
		}
	}
}

// skewFrom measures by how much the local clock is ahead of the Date header, to
// the second; 0 when there is none.
func skewFrom(resp *http.Response) time.Duration {
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Since(at).Round(time.Second)
}

func (c *conn) hear() { c.heard.Store(int64(time.Since(c.start))) }

// run reads until the connection or ctx ends and returns why. A probe asks whether the
// connection still lives. deliver handles one received thing; its error ends the connection.
func (c *conn) run(ctx context.Context, probe <-chan struct{}, deliver func(*conn, received) error) error {
	var loops sync.WaitGroup
	loops.Go(func() { c.leaveLoop(ctx) })
	loops.Go(func() { c.keepAliveLoop(probe) })
	loops.Go(func() { c.deliverLoop(deliver) })
	c.fail(c.readLoop())
	loops.Wait()
	_ = c.ws.CloseNow()
	return context.Cause(c.ctx)
}

func (c *conn) readLoop() error {
	word := "" // what was said last before the end
	for {
		_, b, err := c.ws.Read(c.ctx)
		if err != nil {
			err = closedBy(err)
			var closed *ClosedError
			if errors.As(err, &closed) {
				closed.Word = word
			}
			return err
		}
		c.hear()
		frame, err := wire.ParseFrame(b)
		if err != nil {
			return fmt.Errorf("read from broker: %w", err)
		}
		if frame.Type == wire.TypeError && frame.ReqID == "" {
			if e, err := wire.DecodeError(&frame); err == nil && (e.Code == wire.ReasonKicked || e.Code == wire.ReasonBanned) {
				word = e.Message
			}
		}
		if err := c.dispatch(frame); err != nil {
			return err
		}
	}
}

// dispatch gives a frame to whoever waits for it. Unknown ones are ignored.
func (c *conn) dispatch(frame wire.Frame) error {
	switch frame.Type {
	case wire.TypePush:
		return c.receive(&frame)
	case wire.TypeCaughtUp:
		return c.enqueue(received{})
	case wire.TypeRosterChanged:
		return c.enqueue(received{roster: true})
	case wire.TypeAck:
		ack, err := wire.DecodeAck(&frame)
		if err != nil {
			return fmt.Errorf("read ack: %w", err)
		}
		if ack.ID != "" {
			c.answer(ack.ID, frame)
			return nil
		}
	}
	if frame.ReqID != "" {
		c.answer(frame.ReqID, frame)
	}
	return nil
}

func (c *conn) receive(frame *wire.Frame) error {
	if frame.Subtype() == wire.SubtypeSystem {
		system, err := wire.DecodeSystemPush(frame)
		if err != nil {
			return fmt.Errorf("read system push: %w", err)
		}
		return c.enqueue(received{system: &system})
	}
	push, err := wire.DecodePush(frame)
	if err != nil {
		return fmt.Errorf("read push: %w", err)
	}
	return c.enqueue(received{push: &push})
}

func (c *conn) enqueue(r received) error {
	select {
	case c.received <- r:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

func (c *conn) deliverLoop(deliver func(*conn, received) error) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case r := <-c.received:
			err := deliver(c, r)
			if errors.Is(err, ErrDisconnected) {
				// A close by the broker breaks writes too, and only the reader learns
				// the reason, which may be one to stay away.
				select {
				case <-c.ctx.Done():
				case <-time.After(closeGrace):
				}
			}
			if err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// keepAliveLoop pings, and ends a connection on which nothing comes any more.
func (c *conn) keepAliveLoop(probe <-chan struct{}) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	silence := time.NewTimer(silenceLimit)
	defer silence.Stop()
	var renew <-chan time.Time
	if c.renew > 0 {
		timer := time.NewTimer(c.renew)
		defer timer.Stop()
		renew = timer.C
	}
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ping.C:
			// Whether the pong comes is for the silence timer to judge.
			ctx, cancel := context.WithTimeout(c.ctx, pingEvery/2)
			_ = c.ws.Ping(ctx)
			cancel()
		case <-probe:
			ctx, cancel := context.WithTimeout(c.ctx, probeLimit)
			err := c.ws.Ping(ctx) // returns with the pong
			cancel()
			if err != nil {
				c.fail(errNoAnswer)
				return
			}
		case <-silence.C:
			left := silenceLimit - (time.Since(c.start) - time.Duration(c.heard.Load()))
			if left <= 0 {
				c.fail(errSilent)
				return
			}
			silence.Reset(left)
		case <-renew:
			c.fail(errRenew)
			return
		}
	}
}

// write sends one frame. It is not bound to the caller's context, since a
// write that is cut off ends the connection.
func (c *conn) write(frame []byte) error {
	for n := int64(len(frame)); ; {
		if most := c.large.Load(); n <= most || c.large.CompareAndSwap(most, n) {
			break
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, writeTimeout)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		if cause := context.Cause(c.ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return nil
}

// tooLarge reports whether the connection has ended because of this frame: the broker
// does not say which one it was, but no smaller one than the largest.
func (c *conn) tooLarge(frame []byte) bool {
	var closed *ClosedError
	return errors.As(context.Cause(c.ctx), &closed) && closed.Code == wire.CloseTooBig && int64(len(frame)) >= c.large.Load()
}

func (c *conn) writeJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	return c.write(b)
}

// expect registers for the answer that carries id. The returned function must
// be called to end that.
func (c *conn) expect(id string) (<-chan wire.Frame, func()) {
	answer := make(chan wire.Frame, 1)
	c.mu.Lock()
	c.waiting[id] = answer
	c.mu.Unlock()
	return answer, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.waiting[id] == answer {
			delete(c.waiting, id)
		}
	}
}

func (c *conn) answer(id string, frame wire.Frame) {
	c.mu.Lock()
	answer := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if answer != nil {
		answer <- frame // has room for the one answer
	}
}

// leaveLoop ends the connection in good order when ctx ends: for the broker the
// peer has left, instead of being away. A client that is abandoned is to be away.
func (c *conn) leaveLoop(ctx context.Context) {
	select {
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), errAbandoned) {
			_ = c.ws.Close(websocket.StatusNormalClosure, "")
		}
		c.fail(context.Cause(ctx))
	case <-c.ctx.Done():
	}
}
