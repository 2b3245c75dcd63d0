package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestMonitorThatReachesNobody checks that a monitor whose pointers reach nobody gives way
// to a waiter of the same process.
func TestMonitorThatReachesNobody(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	_, alice, bob := pair(t)
	alice.up()
	bob.up(func(o *Options) { o.Host = host })
	a, b := alice.session().connected(), bob.session().connected()
	host.set(b.pid(), Published{SessionID: b.id, Status: wire.Idle})
	waiter, monitor := b.wake(local.PathWaiter), b.wake(local.PathMonitor)
	a.send("bob", "one") // to the member
	if got := monitor.pointer(); got == "" {
		t.Fatal("the monitor got no pointer")
	}
	if got := waiter.pointer(); got == "" {
		t.Error("the waiter got no pointer")
	}
}
