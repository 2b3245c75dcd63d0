package peer

import (
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/wire"
)

// TestAnswerBeforeTheEnd checks that an answer counts if it arrives together with the end of the
// connection. The broker ends the connection of a member that leaves.
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
