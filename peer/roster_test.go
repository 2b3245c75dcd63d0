package peer

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/wire"
)

// TestRosterByDifferences checks that the client applies changes only to the version that it
// has. It refuses other changes and then goes on from the next answer.
func TestRosterByDifferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		row := func(id byte, name string) wire.PeerRow {
			return wire.PeerRow{PresenceID: wire.ID{id}, DisplayName: name, Groups: []wire.Group{}}
		}
		answers := []wire.PeersList{
			{Version: "2", Since: "1", Peers: []wire.PeerRow{row(9, "of a version that the client never had")}},
			{Version: "2", Peers: []wire.PeerRow{row(1, "a"), row(2, "b")}},
			{Version: "3", Since: "2", Peers: []wire.PeerRow{row(3, "c")}, Gone: []wire.ID{{1}, {8}}},
			{Version: "5", Since: "4", Peers: []wire.PeerRow{row(9, "of a later version")}},
			{Version: "4", Since: "3", Peers: []wire.PeerRow{row(2, "B")}},
		}
		asked := make(chan string, len(answers))
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for _, answer := range answers {
				f, ok := c.nextOf(wire.TypeListPeers)
				if !ok {
					return
				}
				var q struct{ Since string }
				if err := f.Unmarshal(&q); err != nil {
					t.Error(err)
				}
				asked <- q.Since
				answer.Type, answer.ReqID = wire.TypePeersList, f.ReqID
				c.write(answer)
			}
			c.drain()
		})
		defer stop()
		o := s.options()
		o.OnRoster = func() {}
		c := s.dialed(o)
		defer c.Close()
		for i, want := range []struct {
			since string
			names []string // nil: an error
		}{{"", nil}, {"", []string{"a", "b"}}, {"2", []string{"b", "c"}}, {"3", nil}, {"3", []string{"B", "c"}}} {
			rows, err := c.ListPeers(t.Context())
			var names []string
			for _, row := range rows {
				names = append(names, row.DisplayName)
			}
			if since := <-asked; since != want.since || !slices.Equal(names, want.names) || (err != nil) != (want.names == nil) {
				t.Errorf("call %d: asked for %q and got %q, %v", i, since, names, err)
			}
		}
	})
}
