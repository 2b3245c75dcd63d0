package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestSleptSince(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name     string
		wall, up time.Duration // that have passed
		want     time.Duration
	}{
		{"awake", time.Second, time.Second, 0},
		{"a busy machine", time.Minute, time.Minute, 0},
		{"asleep", time.Hour, time.Second, time.Hour - time.Second},
		{"the clock was put back", -time.Hour, time.Second, -time.Hour - time.Second},
	} {
		before := moment{noon, 5 * time.Minute}
		after := moment{noon.Add(tc.wall), 5*time.Minute + tc.up}
		if got := after.sleptSince(before); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// network is a network that may drop out. From then on its connections receive nothing.
type network struct {
	mu    sync.Mutex
	conns []*deafConn
	dials atomic.Int64
}

type deafConn struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
	deaf   atomic.Bool
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	n.dials.Add(1)
	c := &deafConn{Conn: inner, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return c, nil
}

// drop makes all existing connections deaf.
func (n *network) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.deaf.Store(true)
	}
}

func (c *deafConn) Read(b []byte) (int, error) {
	k, err := c.Conn.Read(b)
	if c.deaf.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return k, err
}

func (c *deafConn) Write(b []byte) (int, error) {
	if c.deaf.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestWakingUp checks that a daemon reconnects after its laptop wakes up. Its connections
// are dead then, but no error has ended them.
func TestWakingUp(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	bob.up()
	from := bob.session().connected()
	var ahead atomic.Int64
	var n network
	transport := &http.Transport{DialContext: n.dial}
	t.Cleanup(transport.CloseIdleConnections)
	var log lockedBuffer
	alice.up(func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		o.wall = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		o.HTTPClient = &http.Client{Transport: transport}
	})
	to := alice.session().connected()
	dials := n.dials.Load()
	n.drop()
	ahead.Store(int64(time.Hour))
	await.Until(t, "both sides have reconnected", func() bool { return n.dials.Load() >= dials+2 })
	to.connected()
	if !strings.Contains(log.String(), "did not answer a ping") {
		t.Errorf("the daemon did not check its connections:\n%s", log.String())
	}
	sent := from.send(to.key().String(), "good morning")
	from.awaitState(sent.ID, local.Delivered)
}
