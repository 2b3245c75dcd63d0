package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Client is a peer's connection to its broker and survives reconnects. Make one with New
// and start it with Run, or use Dial, which does both.
type Client struct {
	o     Options
	log   *slog.Logger
	pairs []identity.KeyPair // others may seal for any of them; the likeliest comes first

	// life ends when the client is abandoned, before or while it runs.
	life    context.Context
	abandon context.CancelCauseFunc

	seen   seenSet // owned by the deliver loop, of which there is one at a time
	roster roster

	probe chan struct{} // has room for one request to check the connection

	stop context.CancelFunc // of Dial; nil otherwise
	done chan struct{}      // closed when Dial's Run has ended

	mu      sync.Mutex
	conn    *conn         // nil while not connected
	end     error         // why the client stopped for good
	lastErr error         // error of the newest failed attempt
	changed chan struct{} // closed, and made anew, when conn or end changes
}

// New checks the options and makes a client that does nothing until Run.
func New(o Options) (*Client, error) {
	o, err := o.normalized()
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, log: o.Logger, roster: roster{asking: make(chan struct{}, 1)}, changed: make(chan struct{}), probe: make(chan struct{}, 1)}
	if !o.Session.IsZero() {
		c.pairs = append(c.pairs, o.Session)
	}
	for _, f := range o.Formerly {
		c.pairs = append(c.pairs, f.Pair)
	}
	c.pairs = append(c.pairs, o.Mesh.Member)
	c.life, c.abandon = context.WithCancelCause(context.Background())
	return c, nil
}

// Dial makes a client, runs it in the background and waits until it is connected or ctx
// ends. The caller must close the client.
func Dial(ctx context.Context, o Options) (*Client, error) {
	c, err := New(o)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop, c.done = stop, make(chan struct{})
	go func() {
		defer close(c.done)
		_ = c.Run(run) // every call on the client returns the reason
	}()
	if _, err := c.connected(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends a client made by Dial, tells the broker that the peer leaves, and waits for
// the client's goroutines. It may be called more than once.
func (c *Client) Close() {
	if c.stop != nil {
		c.stop()
		<-c.done
	}
}

// Abandon ends a client without telling the broker that the peer leaves. To the broker the
// peer looks as if its network had failed. If another client with the same key connects
// within the lease, nobody notices the change. Abandon waits for the goroutines of a
// client made by Dial. If the client was started by Run, Run returns. Abandon may be
// called at any time, and more than once.
func (c *Client) Abandon() {
	c.abandon(errAbandoned)
	if c.done != nil {
		<-c.done // wait before stop: stop would tell the broker that the peer leaves
		c.stop()
	}
}

// Run keeps the client connected until ctx ends, the client is abandoned, or the broker
// refuses it for good. In the last case it returns a *HelloError or *ClosedError. Run must
// be called only once.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(errAbandoned) })()
	err := c.runLoop(ctx)
	c.setConn(nil, err)
	if ctx.Err() != nil {
		err = ctx.Err()
		c.finish(ErrClosed)
	} else {
		c.finish(err)
	}
	c.tell(State{Err: err})
	return err
}

// Probe makes the client check at once whether its connection is still alive. If the
// client is waiting before its next attempt to connect, Probe starts that attempt now.
// Call it after the machine has slept, because timers do not count that time.
func (c *Client) Probe() {
	select {
	case c.probe <- struct{}{}:
	default:
	}
}

func (c *Client) runLoop(ctx context.Context) error {
	var pauses backoff
	var renewed bool
	for everConnected := false; ; {
		var current *conn
		var err error
		var welcome time.Time // zero if the client was not let in
		if c.o.OneShot && !everConnected {
			current, err = c.dialPatiently(ctx)
		} else {
			current, err = c.dialOnce(ctx)
		}
		if err == nil {
			everConnected = true
			welcome = time.Now()
			c.setConn(current, nil)
			if !renewed {
				c.tell(State{Connected: true})
			}
			err = current.run(ctx, c.probe, func(from *conn, r received) error { return c.deliver(ctx, from, r) })
		}
		if ctx.Err() != nil || isFinal(err, c.o.OneShot) || c.o.OneShot && !everConnected {
			return err
		}
		if renewed = errors.Is(err, errRenew); renewed {
			continue // it has lasted for hours
		}
		pause := pauses.after(welcome, err)
		c.setConn(nil, err)
		c.tell(State{Err: err, RetryIn: pause})
		c.log.Warn("not connected to the broker", "error", err, "retry_in", pause)
		if c.pause(ctx, pause) {
			pauses.reset()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// pause waits for d, until ctx ends, or until a probe. It reports whether a probe ended
// it.
func (c *Client) pause(ctx context.Context, d time.Duration) (probe bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-c.probe:
		return true
	}
	return false
}

// dialOnce connects. Two hellos that one key signs within the same millisecond have the
// same bytes, and the broker takes the second for a replay. In that case dialOnce tries
// once more with a later time.
func (c *Client) dialOnce(ctx context.Context) (conn *conn, err error) {
	for range 5 {
		conn, err = dial(ctx, &c.o)
		var refused *HelloError
		if !errors.As(err, &refused) || refused.Code != wire.CodeReplayed || !sleep(ctx, 5*time.Millisecond) {
			break
		}
	}
	return conn, err
}

// dialPatiently connects a command. It tries again while the broker is away.
func (c *Client) dialPatiently(ctx context.Context) (conn *conn, err error) {
	delayed := func(err error) {
		c.setConn(nil, err)
		c.delayed(reason(err))
	}
	err = retry(ctx, passing, delayed, func() error {
		conn, err = c.dialOnce(ctx)
		return err
	})
	return conn, err
}

// reason returns the broker's words for an error, or else the text of the error.
func reason(err error) string {
	var hello *HelloError
	if errors.As(err, &hello) {
		return hello.Message
	}
	return err.Error()
}

func (c *Client) tell(s State) {
	if c.o.OnState != nil {
		c.o.OnState(s)
	}
}

// setConn publishes the connection. If conn is nil, err says why there is none.
func (c *Client) setConn(conn *conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	if err != nil {
		c.lastErr = err
	}
	c.announceLocked()
}

func (c *Client) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = err
	c.announceLocked()
}

func (c *Client) announceLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// connected waits for a connection.
func (c *Client) connected(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		conn, end, lastErr, changed := c.conn, c.end, c.lastErr, c.changed
		c.mu.Unlock()
		if end != nil {
			return nil, end
		}
		if conn != nil && conn.ctx.Err() == nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if lastErr != nil {
				return nil, fmt.Errorf("not connected to the broker: %w (%w)", ctx.Err(), lastErr)
			}
			return nil, fmt.Errorf("not connected to the broker: %w", ctx.Err())
		}
	}
}

// HelloAck waits for a connection and returns the broker's hello_ack for it.
func (c *Client) HelloAck(ctx context.Context) (wire.HelloAck, error) {
	conn, err := c.connected(ctx)
	if err != nil {
		return wire.HelloAck{}, err
	}
	return conn.ack, nil
}

// pair returns the key pair by which others know this client.
func (o *Options) pair() identity.KeyPair {
	if o.Session.IsZero() {
		return o.Mesh.Member
	}
	return o.Session
}

// Pubkey returns the key under which others reach this client: the session's key, or the
// member's if there is no session.
func (c *Client) Pubkey() wire.Key { return c.o.pair().Public() }
