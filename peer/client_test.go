package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHelloOfAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, idle)
		defer stop()
		o := s.options()
		o.About = About{SessionID: "x", PID: 7, Cwd: "/w", Capabilities: []string{wire.CapTransient}, Groups: []wire.Group{{Name: "a"}}}
		s.dialed(o).Close()

		h := wire.DecodeHello(&s.hellos[0])
		if s.hellos[0].Type != wire.TypeHello || h.Malformed != nil || h.SessionID != "x" || h.PID != 7 || !h.Has(wire.CapTransient) || h.SessionPubkey != "" {
			t.Errorf("got %+v", h)
		}
		sig, err := wire.ParseSignature(h.Signature)
		if err != nil {
			t.Fatal(err)
		}
		if err := identity.VerifyHello(o.Mesh.MeshID, o.Mesh.MemberID, o.Mesh.Member.Public(), h.Timestamp, sig, time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestHelloOfASessionIsAttestedAnewAtEveryConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, func(c *serverConn) { c.hello() }, idle)
		defer stop()
		o := s.options()
		o.Session = newKey(t)
		c := s.dialed(o)
		time.Sleep(5 * time.Second)
		c.Close()
		if s.connects() != 2 {
			t.Fatalf("%d connects", s.connects())
		}
		var ends []int64
		for i := range s.hellos {
			h := wire.DecodeSessionHello(&s.hellos[i])
			if h.Malformed != nil {
				t.Fatal(h.Malformed)
			}
			sig, err := wire.ParseSignature(h.Attestation.Signature)
			if err != nil {
				t.Fatal(err)
			}
			a := identity.Attestation{SessionPubkey: o.Session.Public(), ParentMemberPubkey: o.Mesh.Member.Public(), ExpiresAt: h.Attestation.ExpiresAt, Signature: sig}
			if err := a.Verify(time.Now()); err != nil {
				t.Errorf("attestation: %v", err)
			}
			sig, err = wire.ParseSignature(h.Signature)
			if err != nil {
				t.Fatal(err)
			}
			if err := identity.VerifySessionHello(h.MeshID, o.Mesh.Member.Public(), o.Session.Public(), h.Timestamp, sig, time.Now()); err != nil {
				t.Errorf("hello: %v", err)
			}
			ends = append(ends, h.Attestation.ExpiresAt)
		}
		if ends[0] == ends[1] {
			t.Error("the attestation was used twice")
		}
	})
}

func refusing(code wire.Code) script {
	return func(c *serverConn) {
		c.next()
		c.write(wire.NewError(code, "no: "+string(code), ""))
		c.ws.Close(wire.ClosePolicy, string(code))
	}
}

func TestHelloRefused(t *testing.T) {
	for _, tc := range []struct {
		code  wire.Code
		final bool
		says  string
	}{
		{wire.CodeUnauthorized, true, "join again"},
		{wire.CodeRevoked, true, "no: revoked"},
		{wire.CodeBadSignature, true, "join again"},
		{wire.CodeMemberIDMismatch, true, "join again"},
		{wire.CodeTimestampSkew, false, "clock"},
		{wire.CodeCapacity, false, "later"},
		{wire.CodeTryAgain, false, "try_again"},
	} {
		t.Run(string(tc.code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newScripted(t, refusing(tc.code), idle)
				defer stop()
				states := make(chan State, 10)
				o := s.options()
				o.OnState = func(s State) { states <- s }
				c, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = c.Run(ctx)
				if !tc.final {
					if !errors.Is(err, context.DeadlineExceeded) || s.connects() != 1 {
						t.Errorf("got %v after %d connects; the client should have reconnected", err, s.connects())
					}
					err = (<-states).Err
				}
				var refused *HelloError
				if !errors.As(err, &refused) || refused.Code != tc.code || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("got %v", err)
				}
				if tc.final && s.connects() != 0 {
					t.Error("the client reconnected after a final error")
				}
			})
		})
	}
}

func TestTimestampSkewIsMeasured(t *testing.T) {
	for skew, says := range map[time.Duration]string{
		90 * time.Second: "1m30s ahead of the broker's", -5 * time.Minute: "5m0s behind the broker's", 0: "more than 60 s",
	} {
		if got := (&HelloError{Code: wire.CodeTimestampSkew, Skew: skew}).Error(); !strings.Contains(got, says) {
			t.Errorf("%v: %s", skew, got)
		}
	}
}

// TestWrongClock checks that a machine with a wrong clock can connect, because it uses the
// broker's clock.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		off    time.Duration // how far the broker's clock is ahead of ours
		hellos int           // for two connections
		works  bool
	}{
		{0, 2, true}, {30 * time.Second, 2, true}, {2 * time.Minute, 3, true}, {-2 * time.Minute, 3, true},
		{5 * time.Hour, 3, true}, {-23 * time.Hour, 3, true}, {25 * time.Hour, 1, false}, {-10 * 365 * 24 * time.Hour, 1, false},
	} {
		t.Run(tc.off.String(), func(t *testing.T) {
			t.Parallel()
			var hellos atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				now := time.Now().Add(tc.off)
				w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
				ws, err := websocket.Accept(w, r, nil)
				if err != nil {
					return
				}
				defer ws.CloseNow()
				hellos.Add(1)
				answerByClock(r.Context(), ws, now)
			}))
			defer server.Close()
			o := wrongClockOptions(t, server.URL)
			for range 2 {
				c, err := dial(t.Context(), &o)
				if (err == nil) != tc.works {
					t.Fatalf("dial: %v; want success: %t", err, tc.works)
				}
				if err != nil {
					break
				}
				c.fail(nil)
				_ = c.ws.CloseNow()
			}
			if n := int(hellos.Load()); n != tc.hellos {
				t.Errorf("%d hellos, want %d", n, tc.hellos)
			}
		})
	}
}

// answerByClock answers a hello as a broker does whose clock shows now, and waits for the
// client to leave.
func answerByClock(ctx context.Context, ws *websocket.Conn, now time.Time) {
	_, b, err := ws.Read(ctx)
	if err != nil {
		return
	}
	var hello struct{ Timestamp int64 }
	answer := `{"type":"hello_ack","presenceId":"01","memberDisplayName":"me","memberProfile":{"groups":[]}}`
	if json.Unmarshal(b, &hello) != nil || now.Sub(time.UnixMilli(hello.Timestamp)).Abs() > identity.MaxSkew {
		answer = `{"type":"error","code":"timestamp_skew","message":"hello rejected: timestamp_skew"}`
	}
	_ = ws.Write(ctx, websocket.MessageText, []byte(answer))
	_, _, _ = ws.Read(ctx)
}

// wrongClockOptions returns the complete options of a client of the server at url.
func wrongClockOptions(t *testing.T, url string) Options {
	t.Helper()
	o, err := (Options{Mesh: Mesh{
		MeshID: "019aab2b9fd77c3e8b1a000102030405", MemberID: "019aab2b9fd77c3e8b1a000102030406",
		Member: newKey(t), BrokerURL: strings.Replace(url, "http", "ws", 1) + "/ws",
	}}).normalized()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestClockIsSetRight checks that a client stops correcting its clock when somebody has set
// the clock right. The broker sends no Date, as if the measured difference were 0 s.
func TestClockIsSetRight(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		answerByClock(r.Context(), ws, time.Now())
	}))
	defer server.Close()
	o := wrongClockOptions(t, server.URL)
	o.skew.set(time.Hour)
	for range 2 {
		c, err := dial(t.Context(), &o)
		if err != nil {
			t.Fatal(err)
		}
		c.fail(nil)
		_ = c.ws.CloseNow()
	}
	if got := o.skew.ahead(); got != 0 {
		t.Errorf("the client still corrects its clock by %v", got)
	}
}

func TestOneShotFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, idle)
		stop()
		o := s.options()
		o.OneShot = true
		start := time.Now()
		_, err := Dial(t.Context(), o)
		if !errors.Is(err, errRefused) || time.Since(start) > 0 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestReplayedHelloIsSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, refusing(wire.CodeReplayed), idle)
		defer stop()
		o := s.options()
		o.OneShot = true
		start := time.Now()
		s.dialed(o).Close()
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestSilentBrokers(t *testing.T) {
	t.Run("no hello_ack", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, func(c *serverConn) { c.drain() })
			defer stop()
			o := s.options()
			o.OneShot = true
			var away *AwayError
			if _, err := Dial(t.Context(), o); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &away) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("dead connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, idle)
			s.mute = true
			defer stop()
			states := make(chan State, 10)
			o := s.options()
			o.OnState = func(s State) { states <- s }
			start := time.Now()
			c := s.dialed(o)
			<-states
			if down := <-states; !errors.Is(down.Err, errSilent) || time.Since(start) != silenceLimit {
				t.Errorf("got %v after %v", down.Err, time.Since(start))
			}
			c.Close()
		})
	})
	t.Run("dead connection, probed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, idle)
			s.mute = true
			defer stop()
			states := make(chan State, 10)
			o := s.options()
			o.OnState = func(s State) { states <- s }
			c := s.dialed(o)
			<-states
			start := time.Now()
			c.Probe()
			if down := <-states; !errors.Is(down.Err, errNoAnswer) || time.Since(start) != probeLimit {
				t.Errorf("got %v after %v", down.Err, time.Since(start))
			}
			c.Close()
		})
	})
	t.Run("living connection, probed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, idle)
			defer stop()
			c := s.dialed(s.options())
			for range 3 {
				c.Probe()
				time.Sleep(time.Minute)
			}
			if s.connects() != 1 {
				t.Errorf("%d connects", s.connects())
			}
			c.Close()
		})
	})
	t.Run("a probe ends a pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			drop := func(c *serverConn) { c.hello() }
			s, stop := newScripted(t, drop, drop, drop, drop, drop, idle)
			defer stop()
			states := make(chan State, 100)
			o := s.options()
			o.OnState = func(s State) { states <- s }
			c := s.dialed(o)
			for range 5 {
				<-states
				<-states
			}
			synctest.Wait()
			start := time.Now()
			c.Probe()
			if up := <-states; !up.Connected || time.Since(start) != 0 {
				t.Errorf("got %+v after %v", up, time.Since(start))
			}
			c.Close()
		})
	})
	t.Run("pongs are life", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, idle)
			defer stop()
			c := s.dialed(s.options())
			time.Sleep(time.Hour)
			if s.connects() != 1 {
				t.Errorf("%d connects", s.connects())
			}
			c.Close()
		})
	})
}

func TestReconnectPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, func(c *serverConn) { c.hello() })
		defer stop()
		states := make(chan State, 100)
		o := s.options()
		o.OnState = func(s State) { states <- s }
		c := s.dialed(o)
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if up := <-states; !up.Connected {
				t.Fatalf("not connected: %+v", up)
			}
			down := <-states
			if low, high := want*time.Second*8/10, want*time.Second*12/10; down.RetryIn < low || down.RetryIn > high || down.Err == nil {
				t.Errorf("pause %d: got %v, want %v ± 20 %%", i, down.RetryIn, want*time.Second)
			}
		}
		c.Close()
	})
}

func TestPausesStartOverAfterAStableMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drop := func(c *serverConn) { c.hello() }
		stable := func(c *serverConn) {
			c.hello()
			ctx, cancel := context.WithTimeout(context.Background(), 61*time.Second)
			defer cancel()
			c.ws.Read(ctx)
		}
		s, stop := newScripted(t, drop, drop, drop, stable, idle)
		defer stop()
		states := make(chan State, 100)
		o := s.options()
		o.OnState = func(s State) { states <- s }
		c := s.dialed(o)
		var last State
		for range 4 {
			<-states
			last = <-states
		}
		if last.RetryIn > 1200*time.Millisecond {
			t.Errorf("pause %v after a stable minute", last.RetryIn)
		}
		c.Close()
	})
}

func TestFinalCloses(t *testing.T) {
	closing := func(code websocket.StatusCode, reason string) script {
		return func(c *serverConn) { c.hello(); c.ws.Close(code, reason) }
	}
	for _, tc := range []struct {
		name    string
		code    websocket.StatusCode
		reason  string
		oneShot bool
		final   bool
	}{
		{"banned", wire.CloseBanned, "banned", false, true},
		{"replaced", wire.CloseNormal, wire.ReasonReplaced, false, true},
		{"kicked command", wire.CloseKicked, "kicked", true, true},
		{"kicked peer", wire.CloseKicked, "kicked", false, false},
		{"restart", wire.CloseRestart, "", true, false},
		{"normal", wire.CloseNormal, "disconnected", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newScripted(t, closing(tc.code, tc.reason), idle)
				defer stop()
				o := s.options()
				o.OneShot = tc.oneShot
				c, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = c.Run(ctx)
				var closed *ClosedError
				if errors.As(err, &closed) != tc.final {
					t.Errorf("got %v", err)
				}
				if want := map[bool]int{true: 1, false: 2}[tc.final]; s.connects() != want {
					t.Errorf("%d connects, want %d", s.connects(), want)
				}
				if _, err := c.Send(t.Context(), Outgoing{To: everybody}); tc.final && !errors.As(err, &closed) || !tc.final && !errors.Is(err, ErrClosed) {
					t.Errorf("send afterwards: %v", err)
				}
			})
		})
	}
}

// TestCloseIsClean checks that the broker sees a closed client leave, and takes a vanished
// client as away.
func TestCloseIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		code := make(chan websocket.StatusCode, 1)
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			_, _, err := c.ws.Read(context.Background())
			code <- websocket.CloseStatus(err)
		})
		defer stop()
		c := s.dialed(s.options())
		c.Close()
		c.Close()
		if got := <-code; got != websocket.StatusNormalClosure {
			t.Errorf("closed with %v", got)
		}
	})
}

// TestAbandon checks that an abandoned client sends no close frame, so that the broker
// takes it as away.
func TestAbandon(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start func(t *testing.T, o Options) (c *Client, ended <-chan error)
	}{
		{"dialed", func(t *testing.T, o Options) (*Client, <-chan error) {
			c, err := Dial(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			close(ended)
			return c, ended
		}},
		{"run", func(t *testing.T, o Options) (*Client, <-chan error) {
			c, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Run(t.Context()) }()
			if _, err := c.HelloAck(t.Context()); err != nil {
				t.Fatal(err)
			}
			return c, ended
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				code := make(chan websocket.StatusCode, 1)
				s, stop := newScripted(t, func(c *serverConn) {
					c.hello()
					_, _, err := c.ws.Read(context.Background())
					code <- websocket.CloseStatus(err)
				})
				defer stop()
				c, ended := tc.start(t, s.options())
				c.Abandon()
				<-ended
				c.Abandon()
				c.Close()
				if got := <-code; got != -1 {
					t.Errorf("closed with %v", got)
				}
				if err := c.SetStatus(t.Context(), wire.Idle); !errors.Is(err, ErrClosed) {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

// TestAbandonBeforeRun checks that Run of a client that was abandoned before returns at
// once.
func TestAbandonBeforeRun(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Mesh: Mesh{Member: newKey(t), BrokerURL: "ws://127.0.0.1:1/ws"}})
	if err != nil {
		t.Fatal(err)
	}
	c.Abandon()
	if err := c.Run(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSessionIsRenewedBeforeItsAttestationEnds checks that the attestation that goes out
// with a session's messages is valid as long as the connection lives. The client renews the
// connection for that, and does not report it.
func TestSessionIsRenewedBeforeItsAttestationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, idle)
		defer stop()
		o := s.options()
		var told atomic.Int32
		o.OnState = func(State) { told.Add(1) }
		member := s.dialed(o)
		o.Session = newKey(t)
		session := s.dialed(o)
		time.Sleep(identity.DefaultAttestationTTL - time.Minute)
		member.Close()
		session.Close()
		if s.connects() != 3 {
			t.Fatalf("%d connects", s.connects())
		}
		first, second := wire.DecodeSessionHello(&s.hellos[1]), wire.DecodeSessionHello(&s.hellos[2])
		if first.SessionPubkey != second.SessionPubkey || time.Duration(second.Timestamp-first.Timestamp)*time.Millisecond > renewAfter || first.Attestation.ExpiresAt >= second.Attestation.ExpiresAt {
			t.Errorf("got %+v, then %+v", first, second)
		}
		if told.Load() != 4 { // one up and one down for each client
			t.Errorf("OnState was called %d times, want 4", told.Load())
		}
	})
}

// TestReplacedWhileItAcknowledges checks that a session that is replaced while it writes
// learns of it.
func TestReplacedWhileItAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := newKey(t)
		var o Options
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for i := range 20 {
				c.writePush(sealed(t, alice, o.Session.Public(), fmt.Sprint("m", i), "", "text"))
			}
			c.ws.Close(websocket.StatusNormalClosure, wire.ReasonReplaced)
		})
		defer stop()
		o = s.options()
		o.Session = newKey(t)
		o.OnMessage = func(context.Context, Incoming) error { return nil }
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); !IsReplaced(err) || s.connects() != 1 {
			t.Errorf("%d connects, %v", s.connects(), err)
		}
	})
}

// TestHelloSucceeds checks that the hello names the sessions that this one succeeds, each
// with its own signature.
func TestHelloSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, idle)
		defer stop()
		o := s.options()
		o.Session = newKey(t)
		for range wire.MaxSuccessions + 1 {
			o.Formerly = append(o.Formerly, FormerSession{newKey(t)})
		}
		s.dialed(o).Close()
		h := wire.DecodeSessionHello(&s.hellos[0])
		if h.Malformed != nil || len(h.Succeeds) != wire.MaxSuccessions {
			t.Fatalf("%d sessions, %v", len(h.Succeeds), h.Malformed)
		}
		for i, old := range h.Succeeds {
			key, err := wire.ParseKey(old.SessionPubkey)
			if err != nil || key != o.Formerly[i].Pair.Public() {
				t.Fatalf("session %d: %s, %v", i, old.SessionPubkey, err)
			}
			sig, err := wire.ParseSignature(old.Signature)
			if err != nil || !identity.VerifySuccession(o.Mesh.MeshID, key, o.Session.Public(), sig) {
				t.Errorf("session %d has not signed (%v)", i, err)
			}
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, broker := range []string{"", "http://x/ws", "ws:///ws", "broker", "ws://%"} {
		if _, err := New(Options{Mesh: Mesh{Member: newKey(t), BrokerURL: broker}}); err == nil {
			t.Errorf("broker URL %q was accepted", broker)
		}
	}
	if _, err := New(Options{Mesh: Mesh{BrokerURL: "ws://x/ws"}}); err == nil {
		t.Error("options without a key were accepted")
	}
}

// TestOverTCP sends over a real socket, because real clients don't use pipes.
func TestOverTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, stop := serveScripted(t, l, nil, func(c *serverConn) {
		c.hello()
		for f := range c.frames() {
			m, err := wire.DecodeSend(&f)
			if err != nil {
				t.Error(err)
			}
			c.ack(m.ID, "m1", "")
		}
	})
	defer stop()
	o := s.options()
	o.Mesh.BrokerURL = "ws://" + l.Addr().String() + "/ws"
	o.HTTPClient = nil
	c := s.dialed(o)
	defer c.Close()
	if r, err := c.Send(t.Context(), Outgoing{To: everybody, Body: []byte("x")}); err != nil || r.MessageID != "m1" {
		t.Errorf("got %+v, %v", r, err)
	}
}

var everybody = []wire.Target{{Kind: wire.TargetAll}}

func TestServersThatAreNotBrokers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reach := func(url string) error {
		_, err := dial(t.Context(), &Options{HTTPClient: client, Mesh: Mesh{BrokerURL: url}, skew: new(skew)})
		return err
	}
	var noWebSocket *NoWebSocketError
	if err := reach("ws://" + host + "/ws"); !errors.As(err, &noWebSocket) || noWebSocket.Status != http.StatusNotFound {
		t.Errorf("another server: %v", err)
	}
	if err := reach("wss://" + host + "/ws"); !errors.Is(err, http.ErrSchemeMismatch) {
		t.Errorf("no TLS: %v", err)
	}
}
