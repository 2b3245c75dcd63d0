package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// A limit is told in the sender's bytes, and a message of as many is taken: of brokers of
// protocol v1 with any limit, too.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, limit := range []int{1024, 1025, 1026, 1027, 1028, 65536} {
			s, stop := newScripted(t, func(c *serverConn) {
				c.hello()
				for {
					m, ok := c.sendOf()
					if !ok {
						return
					}
					why := ""
					if m.Size() > limit {
						why = fmt.Sprintf("payload_too_large: %d bytes > %d", m.Size(), limit)
					}
					c.ack(m.ID, "m", why)
				}
			})
			c := s.dialed(s.options())
			bob := []wire.Target{{Kind: wire.TargetKey, Key: newKey(t).Public()}}
			most := 0
			for _, size := range []int{limit, limit + 1, limit + 2, 2 * limit} {
				var e *TooLongError
				var refused *RefusedError
				_, err := c.Send(t.Context(), Outgoing{To: bob, Body: make([]byte, size)})
				if !errors.As(err, &e) || e.Bytes != size || most != 0 && e.Most != most || !errors.As(err, &refused) {
					t.Fatalf("%d bytes, limit %d: %v", size, limit, err)
				}
				most = e.Most
			}
			if _, err := c.Send(t.Context(), Outgoing{To: bob, Body: make([]byte, most)}); err != nil {
				t.Errorf("limit %d: %d bytes are not taken: %v", limit, most, err)
			}
			if _, err := c.Send(t.Context(), Outgoing{To: bob, Body: make([]byte, most+1)}); err == nil {
				t.Errorf("limit %d: one byte more than %d is taken", limit, most)
			}
			c.Close()
			stop()
		}
	})
}

// Who gives up is told whether the broker may have the message.
func TestSendGivenUp(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer string // to each send; "": none
		open   bool
	}{
		{"no answer", "", true},
		{"refused for now", "rate_limit: slow down", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, func(c *serverConn) {
				c.hello()
				for {
					m, ok := c.sendOf()
					if !ok {
						return
					}
					if tc.answer != "" {
						c.ack(m.ID, "", tc.answer)
					}
				}
			})
			defer stop()
			o := s.options()
			var reasons []string
			o.OnDelay = func(reason string) { reasons = append(reasons, reason) }
			c := s.dialed(o)
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			_, err := c.Send(ctx, Outgoing{To: []wire.Target{{Kind: wire.TargetKey, Key: newKey(t).Public()}}, Body: []byte("x")})
			if err == nil || errors.Is(err, ErrUnacknowledged) != tc.open {
				t.Errorf("%s: %v", tc.name, err)
			}
			if len(reasons) == 0 || tc.answer != "" && reasons[0] != tc.answer {
				t.Errorf("%s: told %q", tc.name, reasons)
			}
		})
	}
}

func TestMeant(t *testing.T) {
	t.Parallel()
	peers := []wire.PeerRow{
		{DisplayName: "bob", Groups: []wire.Group{{Name: "review"}, {Name: "dev/web"}}},
		{DisplayName: "carol"}, {DisplayName: "deadbeefdeadbeef"}, {DisplayName: "@all"},
	}
	members := []wire.MemberRow{{DisplayName: "Dave"}, {DisplayName: "gone", Removed: true}}
	for to, want := range map[string]string{
		"@bob": "bob", "@BOB": "bob", "@bbo": "bob", "#bob": "bob", "@dave": "Dave", "@reviwe": "@review", "review": "@review", "@dev/wbe": "@dev/web",
		"@gone": "", "@nogroup": "", "deadbeefdeadbeee": "", "@Review": "@review", "@bob2": "bob", "@": "", "": "", "zzz": "",
	} {
		if got := Meant(to, peers, members); got != want {
			t.Errorf("%q: got %q, want %q", to, got, want)
		}
	}
	if got := (&ReachesNobodyError{"@b\x1bob", "target_not_found: nobody", "b\x1bob"}).Error(); strings.Contains(got, `"b`+"\x1b") {
		t.Errorf("the terminal obeys %q", got)
	}
}

// An answer counts that comes together with the end of the connection, as when the broker
// lets a member go that leaves.
func TestAnswerBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			s, stop := newScripted(t, func(c *serverConn) {
				c.hello()
				f, ok := c.nextOf(wire.TypeMemberRemove)
				if !ok {
					return
				}
				c.write(map[string]any{"type": "ack", "_reqId": f.ReqID, "queued": false})
			})
			c := s.dialed(s.options())
			if err := c.MemberRemove(t.Context(), newKey(t).Public()); err != nil {
				t.Error(err)
			}
			c.Close()
			stop()
		}
	})
}
