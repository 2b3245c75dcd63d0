package broker

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// idleConn returns a broker with one connection whose peer sends nothing, and what the broker
// writes to that peer.
func idleConn(t *testing.T) (b *Broker, c *conn, peer net.Conn) {
	t.Helper()
	b = New(Options{Settings: DefaultSettings(), Storage: &kept{}, Log: zap.NewNop()})
	here, peer := net.Pipe()
	c = newConn(b, nil, &socket{Conn: here, born: time.Now()}, netip.Addr{})
	b.conns[c] = struct{}{}
	t.Cleanup(func() {
		c.kill()
		c.out.ended.Wait()
	})
	return b, c, peer
}

func wantPing(t *testing.T, peer net.Conn) {
	t.Helper()
	got := make([]byte, len(pingFrame))
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != string(pingFrame) {
		t.Errorf("the peer got %x, %v; want a ping", got, err)
	}
}

// TestPingsThoughSweepsAreLate checks that a connection is pinged once in every interval even if no
// sweep falls into the second in which it is due.
func TestPingsThoughSweepsAreLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, c, peer := idleConn(t)
		s := b.Settings()
		for n := range time.Duration(3) {
			boundary := c.born.Add((n + 1) * s.PingInterval)
			b.pingDue(boundary.Add(-500*time.Millisecond), s)
			b.pingDue(boundary.Add(1500*time.Millisecond), s)
			wantPing(t, peer)
		}
		if synctest.Wait(); c.out.writing {
			t.Error("a connection was pinged twice in one interval")
		}
	})
}

// TestStandstillIsNotSilence checks that a broker that has been standing still for longer than
// PongTimeout pings its peers before it takes them for dead.
func TestStandstillIsNotSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, c, peer := idleConn(t)
		s := b.Settings()
		b.pingDue(time.Now(), s)
		time.Sleep(2 * s.PongTimeout)
		b.pingDue(time.Now(), s)
		if c.dead.Err() != nil {
			t.Fatal("the connection was cut although its peer had no chance to answer")
		}
		wantPing(t, peer)
		time.Sleep(tick)
		b.pingDue(time.Now(), s)
		if c.dead.Err() == nil {
			t.Error("the connection stays although its peer has not answered")
		}
	})
}
