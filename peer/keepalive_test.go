package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// acknowledging accepts a client and acknowledges its messages, each after a pause, during which it answers pings.
func acknowledging(pause time.Duration) script {
	return func(c *serverConn) {
		var acks sync.WaitGroup
		defer acks.Wait()
		c.hello()
		for {
			m, ok := c.sendOf()
			if !ok {
				return
			}
			acks.Go(func() {
				time.Sleep(pause)
				c.ack(m.ID, "m-"+m.ClientID, "")
			})
		}
	}
}

func directTo(t *testing.T, text string) Outgoing {
	return Outgoing{To: []wire.Target{{Kind: wire.TargetKey, Key: newKey(t).Public()}}, Body: []byte(text)}
}

// TestUnansweredSendFindsDeadConnection sends a message over a connection that has died. The message goes out again
// over another one soon, no matter for how long the connection has been silent and whether a ping is under way.
func TestUnansweredSendFindsDeadConnection(t *testing.T) {
	for _, age := range []time.Duration{0, time.Second, pingEvery - time.Second, pingEvery + time.Millisecond, 2*pingEvery + time.Second} {
		t.Run(age.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newScripted(t, idle, acknowledging(0))
				s.mute = true
				defer stop()
				states := make(chan State, 10)
				o := s.options()
				o.OnState = func(s State) { states <- s }
				c := s.dialed(o)
				defer c.Close()
				<-states
				time.Sleep(age)
				start := time.Now()
				if _, err := c.Send(t.Context(), directTo(t, "hi")); err != nil {
					t.Fatal(err)
				}
				if took, limit := time.Since(start), doubtAfter+doubtLimit+2*firstPause; took > limit {
					t.Errorf("took %v, longer than %v", took, limit)
				}
				if down := <-states; !errors.Is(down.Err, errNoAnswer) {
					t.Errorf("got %v", down.Err)
				}
			})
		})
	}
}

// TestUnansweredRequestFindsDeadConnection is the same for a request.
func TestUnansweredRequestFindsDeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, idle, func(c *serverConn) {
			c.hello()
			f, _ := c.nextOf(wire.TypeListPeers)
			c.write(object{"type": wire.TypePeersList, "_reqId": f.ReqID, "peers": []object{}})
			c.drain()
		})
		s.mute = true
		defer stop()
		c := s.dialed(s.options())
		defer c.Close()
		if _, err := c.ListPeers(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowAnswersKeepConnection sends to a broker that takes its time but answers pings.
func TestSlowAnswersKeepConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, acknowledging(ackTimeout-time.Second))
		defer stop()
		c := s.dialed(s.options())
		defer c.Close()
		for range 5 {
			if _, err := c.Send(t.Context(), directTo(t, "hi")); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.connects(); n != 1 {
			t.Errorf("%d connects", n)
		}
	})
}

// slowLine passes bytes on at a low rate. Like a kernel, it takes what is written at once.
type slowLine struct {
	net.Conn
	rate  time.Duration // bytes a second
	up    chan []byte
	ended chan struct{}
	once  sync.Once
}

func newSlowLine(conn net.Conn, rate int) *slowLine {
	l := &slowLine{Conn: conn, rate: time.Duration(rate), up: make(chan []byte, 1000), ended: make(chan struct{})}
	go func() {
		for {
			select {
			case b := <-l.up:
				time.Sleep(time.Duration(len(b)) * time.Second / l.rate)
				if _, err := conn.Write(b); err != nil {
					return
				}
			case <-l.ended:
				return
			}
		}
	}()
	return l
}

func (l *slowLine) Write(b []byte) (int, error) {
	select {
	case l.up <- append([]byte(nil), b...):
		return len(b), nil
	case <-l.ended:
		return 0, net.ErrClosed
	}
}

func (l *slowLine) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b[:min(len(b), 1000)])
	time.Sleep(time.Duration(n) * time.Second / l.rate)
	return n, err
}

func (l *slowLine) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.Conn.Close()
}

// newSlowScripted is newScripted with a line between the broker and its clients, for so many bytes a second.
func newSlowScripted(t *testing.T, rate int, scripts ...script) (s *scripted, stop func()) {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := l.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newSlowLine(conn, rate), nil
	}
	return serveScripted(t, l, dial, scripts...)
}

// TestBusyApplicationKeepsConnection sends while the application takes long over what it receives, so that
// nobody reads the broker's pongs.
func TestBusyApplicationKeepsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, alice := Options{}, newKey(t)
		s, stop := newSlowScripted(t, 1<<20, func(c *serverConn) {
			c.hello()
			for i := range pushBuffer + 2 {
				c.writePush(sealed(t, alice, o.Mesh.Member.Public(), fmt.Sprint("m", i), "", "hi"))
			}
			m, _ := c.sendOf()
			c.ack(m.ID, "m", "")
			c.drain()
		})
		defer stop()
		o = s.options()
		first := true
		o.OnMessage = func(context.Context, Incoming) error {
			if first {
				first = false
				time.Sleep(ackTimeout - time.Second)
			}
			return nil
		}
		c := s.dialed(o)
		defer c.Close()
		if _, err := c.Send(t.Context(), directTo(t, "hi")); err != nil {
			t.Fatal(err)
		}
		if n := s.connects(); n != 1 {
			t.Errorf("%d connects", n)
		}
	})
}

// TestSlowLineKeepsConnection sends, and receives, messages for which a slow line needs longer than a dead
// connection is given.
func TestSlowLineKeepsConnection(t *testing.T) {
	const rate = slowestLine * 3 / 2
	text := strings.Repeat("x", int(doubtAfter+doubtLimit)/int(time.Second)*rate) // more when sealed
	for _, way := range []string{"up", "down"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, alice := Options{}, newKey(t)
				s, stop := newSlowScripted(t, rate, func(c *serverConn) {
					c.hello()
					m, _ := c.sendOf()
					if way == "down" {
						c.writePush(sealed(t, alice, o.Mesh.Member.Public(), "m", "", text))
					}
					c.ack(m.ID, "m", "")
					c.drain()
				})
				defer stop()
				o = s.options()
				c := s.dialed(o)
				defer c.Close()
				m := directTo(t, "hi")
				if way == "up" {
					m = directTo(t, text)
				}
				if _, err := c.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				if n := s.connects(); n != 1 {
					t.Errorf("%d connects", n)
				}
			})
		})
	}
}
