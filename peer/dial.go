package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/wire"
)

// skewLimit is the largest correction of the time that we sign by the broker's clock, so that no
// broker gets a hello or a request that we signed for the far future.
const skewLimit = 24 * time.Hour

// dial connects and says hello. ctx bounds only the handshake. If the broker says that
// this machine's clock is wrong, dial signs the hello by the broker's clock.
func dial(ctx context.Context, o *Options) (*conn, error) {
	used := o.skew.ahead()
	c, err := dialAt(ctx, o, used)
	var refused *HelloError
	if !errors.As(err, &refused) || refused.Code != wire.CodeTimestampSkew || refused.Skew.Abs() > skewLimit || refused.Skew == used {
		return c, err
	}
	// A Skew of 0 takes back an earlier correction: somebody has set the clock right since.
	o.skew.set(refused.Skew)
	o.Logger.Warn("this machine's clock differs from the broker's; signing by the broker's clock", "ahead", refused.Skew)
	return dialAt(ctx, o, refused.Skew)
}

// skew is how far this machine's clock is ahead of a broker's, if known.
type skew struct{ duration atomic.Int64 }

func (s *skew) ahead() time.Duration    { return time.Duration(s.duration.Load()) }
func (s *skew) set(ahead time.Duration) { s.duration.Store(int64(ahead)) }

// dialAt is dial for a known skew: it signs the hello for the current time minus ahead.
func dialAt(ctx context.Context, o *Options, ahead time.Duration) (*conn, error) {
	c := &conn{
		signs:    signs{start: time.Now()},
		asked:    make(chan struct{}, 1),
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
		OnPingReceived: func(context.Context, []byte) bool { c.signs.hear(); return true },
		OnPongReceived: func(context.Context, []byte) { c.signs.hear() },
	})
	if err != nil {
		switch {
		case resp == nil, resp.StatusCode == http.StatusSwitchingProtocols:
		case resp.StatusCode == http.StatusMisdirectedRequest, isPassing(resp.StatusCode):
			err = httpError(resp) // which says what is served there, or why nothing is
		default:
			err = &NoWebSocketError{resp.StatusCode}
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
		b, err := c.read(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", errNoWelcome, ctx.Err())
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
			if o.Checkpoints != nil && o.Session.IsZero() {
				o.Checkpoints.Shown(c.ack.Audit)
			}
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

// skewFrom returns how far the local clock is ahead of the Date header, to the second. It
// returns 0 if there is no such header.
func skewFrom(resp *http.Response) time.Duration {
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0
	}
	return time.Since(at).Round(time.Second)
}
