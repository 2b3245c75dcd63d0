package peer

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/wire"
)

// TestTooLong checks that the error gives the limit in bytes of the sender's text, and the
// broker accepts a message of exactly that size. The same holds for brokers of protocol v1,
// with any limit.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, limit := range []int{1024, 1025, 1026, 1027, 1028, 65536} {
			s, stop := newScripted(t, answering(func(c *serverConn, m wire.Send) {
				why := ""
				if m.Size() > limit {
					why = fmt.Sprintf("payload_too_large: %d bytes > %d", m.Size(), limit)
				}
				c.ack(m.ID, "m", why)
			}))
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
				t.Errorf("limit %d: %d bytes were refused: %v", limit, most, err)
			}
			if _, err := c.Send(t.Context(), Outgoing{To: bob, Body: make([]byte, most+1)}); err == nil {
				t.Errorf("limit %d: one byte more than %d was accepted", limit, most)
			}
			c.Close()
			stop()
		}
	})
}
