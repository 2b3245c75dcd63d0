package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// The client's timings are those of v1 clients.
const (
	dialTimeout   = 10 * time.Second
	helloTimeout  = 5 * time.Second
	writeTimeout  = 10 * time.Second
	maxFrameBytes = 64 << 20 // the roster of a full mesh is the longest frame
	pushBuffer    = 256      // received messages that wait for OnMessage; when it is full, reading waits

	// closeGrace is how long a failed write waits for the reader to learn the reason.
	closeGrace = time.Second

	// A session renews its connection within its lease, so unnoticed by others, before the
	// attestation that goes out with its messages expires.
	renewAfter  = identity.DefaultAttestationTTL - time.Hour
	renewSpread = time.Hour
)

// conn is one connection to the broker. It ends once, with a cause.
type conn struct {
	ws  *websocket.Conn
	ack wire.HelloAck // static after the handshake

	ctx  context.Context // ends with the connection, with its cause
	fail context.CancelCauseFunc

	signs signs
	renew time.Duration // after this time the connection is renewed; 0: never
	large atomic.Int64  // bytes of the largest frame that was written

	received chan received // from the read loop to the deliver loop

	asked chan struct{} // of size 1: signals that an answer is due while none was

	mu      sync.Mutex
	waiting map[string]chan wire.Frame // by _reqId, or by the id of a send
	waits   time.Time                  // since when there has been an entry
	busy    time.Time                  // until when the line may be busy with what was written
}

// received is one thing for the application: a message, a system push, a notice that the
// roster changed or, if none of these is set, the end of the backlog.
type received struct {
	push   *wire.Push
	system *wire.SystemPush
	roster bool
}

// run reads until the connection or ctx ends, and returns the reason. A probe asks whether
// the connection is still alive. deliver handles one received thing; its error ends the
// connection.
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
	word := "" // the broker's last error before the end
	for {
		b, err := c.read(c.ctx)
		if err != nil {
			err = closedBy(err)
			var closed *ClosedError
			if errors.As(err, &closed) {
				closed.Word = word
			}
			return err
		}
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

// read reads one frame.
func (c *conn) read(ctx context.Context) ([]byte, error) {
	_, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(heardReader{r, &c.signs})
}

// dispatch hands a frame to the caller that waits for it. It ignores unknown frames.
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
	default:
	}
	defer c.signs.stall()()
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

// write sends one frame. It does not use the caller's context, because cancelling a write
// ends the connection.
func (c *conn) write(frame []byte) error {
	for n := int64(len(frame)); ; {
		if most := c.large.Load(); n <= most || c.large.CompareAndSwap(most, n) {
			break
		}
	}
	c.occupy(len(frame))
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

// tooLarge reports whether the broker closed the connection because of this frame. The
// broker does not say which frame was too large, but the largest one always was.
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

// expect registers for the answer that carries id. The caller must call the returned
// function to end the registration.
func (c *conn) expect(id string) (<-chan wire.Frame, func()) {
	answer := make(chan wire.Frame, 1)
	c.mu.Lock()
	if len(c.waiting) == 0 {
		c.waits = time.Now()
		select {
		case c.asked <- struct{}{}:
		default:
		}
	}
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
	if len(c.waiting) == 0 {
		c.busy = time.Time{} // what was written before has arrived
	}
	c.mu.Unlock()
	if answer != nil {
		answer <- frame // has room for the one answer
	}
}

// leaveLoop closes the connection when ctx ends, so that the broker counts the peer as
// having left rather than as away. It does not do so for an abandoned client, which should
// count as away.
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
