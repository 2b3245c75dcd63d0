package peer

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/wire"
)

// TestOneShotWaitsForTheBroker refuses a command for the moment, in each way a broker or a proxy
// may do so. The command gets through when that has passed.
func TestOneShotWaitsForTheBroker(t *testing.T) {
	for name, away := range map[string]script{
		"the mesh is on its way to another node": refusing(wire.CodeTryAgain),
		"the node is lost before it answers":     func(c *serverConn) { c.next() },
		"the node has stopped answering":         func(c *serverConn) { c.drain() },
		"the node stops":                         func(c *serverConn) { c.next(); _ = c.ws.Close(wire.CloseRestart, "") },
		"the broker is full for now":             func(c *serverConn) { c.next(); _ = c.ws.Close(wire.CloseTryLater, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := newScripted(t, away, away, idle)
				defer stop()
				var reasons []string
				o := s.options()
				o.OneShot, o.OnDelay = true, func(reason string) { reasons = append(reasons, reason) }
				s.dialed(o).Close()
				if len(reasons) != 2 {
					t.Errorf("got the reasons %q", reasons)
				}
			})
		})
	}
}

// TestOneShotGivesUp lets a broker be away for good.
func TestOneShotGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, refusing(wire.CodeTryAgain))
		defer stop()
		o := s.options()
		o.OneShot = true
		start := time.Now()
		_, err := Dial(t.Context(), o)
		var away *AwayError
		var hello *HelloError
		if !errors.As(err, &away) || !errors.As(err, &hello) || hello.Code != wire.CodeTryAgain {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(start); took > retryFor || took < retryFor/2 {
			t.Errorf("gave up after %v", took)
		}
		for _, text := range []string{"can't serve the mesh for now", "tried again for", "operator"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q is missing in: %v", text, err)
			}
		}
	})
}

// TestReadsAreRepeated loses connections and the broker's storage during requests.
func TestReadsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[string]int)
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for f := range c.frames() {
				asked[f.Type]++
				switch {
				case asked[f.Type] == 1:
					return // drops
				case asked[f.Type] == 2:
					c.write(wire.Error{Type: wire.TypeError, Code: wire.CodeTryAgain, Message: "the broker's storage is unreachable", ReqID: f.ReqID})
				default:
					c.write(map[string]any{"type": wire.TypeMembers, "members": []any{}, "_reqId": f.ReqID})
				}
			}
		})
		defer stop()
		o := s.options()
		o.OneShot = true
		c := s.dialed(o)
		defer c.Close()
		if _, err := c.ListMembers(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.MemberSetRole(t.Context(), c.Pubkey(), "admin"); !errors.Is(err, ErrDisconnected) {
			t.Errorf("a change: %v", err)
		}
		if asked[wire.TypeMemberList] != 3 || asked[wire.TypeMemberSetRole] != 1 {
			t.Errorf("the broker was asked %v", asked)
		}
	})
}

// TestJoinWaitsOnce joins a second mesh while the broker is away for good.
func TestJoinWaitsOnce(t *testing.T) {
	dir := Dir(t.TempDir())
	if err := UpdateConfig(t.Context(), dir, func(c *Config) error { c.Put(testMesh(t, "m1", "team")); return nil }); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, idle)
		defer stop()
		s.http = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		start := time.Now()
		_, err := Join(t.Context(), dir, Link{BrokerURL: "ws://broker/ws", Code: "code", Secret: envelope.NewLinkSecret()}, "bob", s.client)
		var away *AwayError
		if took := time.Since(start); !errors.As(err, &away) || took > retryFor {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

// TestHTTPWaitsForTheBroker refuses HTTP requests for the moment.
func TestHTTPWaitsForTheBroker(t *testing.T) {
	for _, tc := range []struct {
		status    int
		wait      string // Retry-After
		claims    int    // of which the last is accepted; 0: the client gives up
		creations int
		least     time.Duration
	}{
		{503, "5", 2, 2, 5 * time.Second},
		{503, "", 2, 2, time.Second / 2},
		{429, "3", 2, 2, 3 * time.Second},
		{502, "", 2, 0, time.Second / 2},
		{504, "nonsense", 2, 0, time.Second / 2},
		{503, "120", 0, 0, 0},
		{500, "", 0, 0, 0},
	} {
		t.Run(http.StatusText(tc.status)+tc.wait, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests, signatures := 0, make(map[string]bool)
				s, stop := newScripted(t, idle)
				defer stop()
				s.http = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					signatures[string(body)] = true
					if requests++; requests == 1 {
						if tc.wait != "" {
							w.Header().Set("Retry-After", tc.wait)
						}
						w.WriteHeader(tc.status)
						return
					}
					_, _ = w.Write([]byte("{}"))
				})
				h := HTTP{BrokerURL: "ws://broker/ws", Client: s.client}
				start := time.Now()
				_, err := h.Claim(t.Context(), "code", newKey(t), newKey(t), "bob", time.Now())
				check := func(what string, want int) {
					t.Helper()
					if want == 0 && (err == nil || requests != 1) || want > 0 && (err != nil || requests != want || time.Since(start) < tc.least) {
						t.Errorf("%s: %v, %d requests, %v", what, err, requests, time.Since(start))
					}
				}
				check("claim", tc.claims)
				if tc.wait == "120" && !strings.Contains(err.Error(), "try again in 2m0s") {
					t.Error(err)
				}
				requests, start = 0, time.Now()
				clear(signatures)
				_, err = h.CreateMesh(t.Context(), newKey(t), "team", "team", "alice", "", time.Now())
				check("create", tc.creations)
				if len(signatures) != requests {
					t.Errorf("%d of %d requests to create are signed anew", len(signatures), requests)
				}
			})
		})
	}
}
