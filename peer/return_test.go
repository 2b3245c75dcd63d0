package peer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/wire"
)

// serving welcomes a client, serves it for some time, and closes the connection.
func serving(serves time.Duration, code websocket.StatusCode, reason string) script {
	return func(c *serverConn) {
		c.hello()
		time.Sleep(serves)
		_ = c.ws.Close(code, reason)
	}
}

// pausesOf runs a client and returns its pauses.
func pausesOf(t *testing.T, o Options, n int) (pauses []time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.OnState = func(s State) {
		if s.RetryIn > 0 {
			if pauses = append(pauses, s.RetryIn); len(pauses) == n {
				cancel()
			}
		}
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return pauses
}

// isPause reports whether a pause is that after so many failures in a row.
func isPause(got time.Duration, failures int) bool {
	want := min(time.Second<<failures, 30*time.Second)
	return got >= want*8/10 && got <= want*12/10
}

// TestReturnsAtOnce asks a client to return again and again, as drains and handovers do. The client
// returns at once each time, and counts none of it as a failure.
func TestReturnsAtOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		code   websocket.StatusCode
		reason string
	}{
		{"moved", wire.CloseRestart, wire.ReasonMoved},
		{"restart", wire.CloseRestart, wire.ReasonShutdown},
		{"restart of a v1 broker", websocket.StatusGoingAway, wire.ReasonShutdown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				drop := func(c *serverConn) { c.hello() }
				away := func(*serverConn) {}
				asks := serving(5*time.Second, tc.code, tc.reason)
				s, stop := newScripted(t, drop, away, asks, asks, asks, asks, asks, asks, away, idle)
				defer stop()
				pauses := pausesOf(t, s.options(), 9)
				for i, failures := range map[int]int{0: 0, 1: 1, 8: 0} {
					if !isPause(pauses[i], failures) {
						t.Errorf("pause %d is %v, want that after %d failures", i, pauses[i], failures)
					}
				}
				spread := make(map[time.Duration]bool)
				for i, pause := range pauses[2:8] {
					if pause > returnWithin {
						t.Errorf("the client returns %v after close %d", pause, i)
					}
					spread[pause] = true
				}
				if len(spread) == 1 {
					t.Error("clients return in step")
				}
			})
		})
	}
}

// TestAskedToReturnForEver connects to a broker that welcomes clients and asks them to return at once.
func TestAskedToReturnForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, serving(0, wire.CloseRestart, wire.ReasonMoved))
		defer stop()
		for i, pause := range pausesOf(t, s.options(), maxReturns+7) {
			if i < maxReturns && pause > returnWithin || i >= maxReturns && !isPause(pause, i-maxReturns) {
				t.Errorf("pause %d is %v", i, pause)
			}
		}
	})
}

// TestReturnsOnlyWhenAsked ends connections in ways that don't ask the client to return, or
// before the client is let in.
func TestReturnsOnlyWhenAsked(t *testing.T) {
	for name, ends := range map[string]script{
		"restart during the hello": func(c *serverConn) { c.next(); _ = c.ws.Close(wire.CloseRestart, wire.ReasonShutdown) },
		"slow reader":              serving(2*time.Second, wire.CloseTryLater, "slow_reader"),
		"fault":                    serving(2*time.Second, wire.CloseInternal, "internal"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newScripted(t, ends)
				defer stop()
				for i, pause := range pausesOf(t, s.options(), 5) {
					if !isPause(pause, i) {
						t.Errorf("pause %d is %v", i, pause)
					}
				}
			})
		})
	}
}

// TestSendDuringMoves sends with a command while its mesh moves from node to node. Each node
// but the last gives the message back.
func TestSendDuringMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuses := func(c *serverConn) {
			c.hello()
			f, _ := c.nextOf(wire.TypeSend)
			if m, err := wire.DecodeSend(&f); err == nil {
				c.ack(m.ID, "", wire.AckTryAgain+": the mesh moves")
			}
			_ = c.ws.Close(wire.CloseRestart, wire.ReasonMoved)
		}
		moves := func(c *serverConn) { c.hello(); _ = c.ws.Close(wire.CloseRestart, wire.ReasonMoved) }
		s, stop := newScripted(t, refuses, moves, refuses, func(c *serverConn) {
			c.hello()
			f, _ := c.nextOf(wire.TypeSend)
			m, err := wire.DecodeSend(&f)
			if err != nil {
				t.Error(err)
			}
			c.ack(m.ID, "m1", "")
			c.drain()
		})
		defer stop()
		o := s.options()
		o.OneShot = true
		start := time.Now()
		c := s.dialed(o)
		defer c.Close()
		if r, err := c.Send(t.Context(), Outgoing{To: everybody, Body: []byte("x")}); err != nil || r.MessageID != "m1" {
			t.Errorf("got %+v, %v", r, err)
		}
		if took := time.Since(start); took > 3*returnWithin {
			t.Errorf("took %v", took)
		}
	})
}
