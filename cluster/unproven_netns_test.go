//go:build linux

package cluster

import (
	"net"
	"testing"

	"github.com/claudemesh/claudemesh/internal/doortest"
	"github.com/claudemesh/claudemesh/internal/netns"
)

// TestUnprovenNodeBehindCut starts a node that advertises the address of a host to which the router
// drops all packets, beside one that is well. It never gets meshes before the address works.
func TestUnprovenNodeBehindCut(t *testing.T) {
	if !netns.Isolated(t, nil, nil) {
		return
	}
	n := netns.New(t)
	far := n.Host(t)
	mend, err := n.Cut(n.Here(), far, netns.Silent)
	if err != nil {
		t.Fatal(err)
	}
	checkUnproven(t, net.JoinHostPort(far.Address, "7901"), func(answer func(net.Conn)) {
		opened := make(chan error)
		go func() {
			err := far.Enter()
			if err == nil {
				var l net.Listener
				if l, err = net.Listen("tcp", net.JoinHostPort(far.Address, "7901")); err == nil {
					doortest.Answer(t, l, answer)
				}
			}
			opened <- err
		}()
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		if err := mend(); err != nil {
			t.Fatal(err)
		}
	})
}
