package peer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// TestSendGivenUp checks that when Send gives up, its error tells whether the broker may
// have the message.
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
			s, stop := newScripted(t, answering(func(c *serverConn, m wire.Send) {
				if tc.answer != "" {
					c.ack(m.ID, "", tc.answer)
				}
			}))
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
				t.Errorf("%s: got reasons %q", tc.name, reasons)
			}
		})
	}
}
