//go:build linux

package postgres

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/netns"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// TestPartingFromCutOffPostgres is checkParting with a server behind a router that drops all packets.
func TestPartingFromCutOffPostgres(t *testing.T) {
	if !netns.Isolated(t, nil, nil) {
		return
	}
	n := netns.New(t)
	far := n.Host(t)
	checkParting(t, pgtest.Start(t, pgtest.On(far)).DSN(), func() {
		for from, to := range map[*netns.Host]*netns.Host{n.Here(): far, far: n.Here()} {
			mend, err := n.Cut(from, to, netns.Silent)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := mend(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
