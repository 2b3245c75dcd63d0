package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer/local"
)

// TestEncodePeers checks that an answer that can't hold all peers says how many it leaves out, and
// has the session that asks, and then those that are online.
func TestEncodePeers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		n       int    // sessions, of which every other one is online
		summary string // of each
		most    int
	}{
		{0, "", 0}, {10, "", 10}, {maxPeers, "", maxPeers}, {maxPeers + 1, "", maxPeers}, {3000, "", maxPeers}, {3000, strings.Repeat("x", 2000), 520},
	} {
		var peers []local.Peer
		for i := range test.n {
			member := fmt.Sprint("member ", i)
			peers = append(peers,
				local.Peer{Name: member, Member: member, Mesh: "team", Role: "session", Summary: test.summary, Online: i%2 == 0, You: i == test.n-1},
				local.Peer{Name: member, Member: member, Mesh: "team", Role: local.RoleDaemon, Online: true})
		}
		b, err := encodePeers(peers)
		if err != nil {
			t.Fatal(err)
		}
		var got local.Peers
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Peers)+got.Left != test.n || len(got.Peers) > test.most || len(got.Peers) < test.most/2 || len(b) > local.MaxBody {
			t.Errorf("%d peers: %d, %d left, %d bytes", test.n, len(got.Peers), got.Left, len(b))
		}
		you := 0
		for i := range got.Peers {
			p := &got.Peers[i]
			if p.You {
				you++
			}
			if got.Left > test.n/2 && !p.Online && !p.You || p.Role != "session" {
				t.Errorf("%d peers: %s is among the first", test.n, p.Name)
			}
		}
		if test.n > 0 && you != 1 {
			t.Errorf("%d peers: the asking session is there %d times", test.n, you)
		}
	}
}
