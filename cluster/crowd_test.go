package cluster

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestCrowd checks that a node gets in at once while strangers take all places of those that have not
// proven yet that they are nodes, and come again whenever they lose a place.
func TestCrowd(t *testing.T) {
	for name, says := range map[string]string{"silent": "", "stammering": "\x16\x03"} {
		t.Run(name, func(t *testing.T) {
			table := newTable()
			n := table.start(t, nil)
			const strangers = crowdLimit + 100
			var first, all sync.WaitGroup
			stop := make(chan struct{})
			first.Add(strangers)
			for range strangers {
				arrived := sync.OnceFunc(first.Done)
				all.Go(func() {
					for {
						visit(n.Address, says, stop, arrived)
						select {
						case <-stop:
							return
						case <-time.After(10 * time.Millisecond):
						}
					}
				})
			}
			t.Cleanup(func() {
				close(stop)
				all.Wait()
			})
			first.Wait()
			began := time.Now()
			joins := table.start(t, nil)
			n.awaitReached(t, joins)
			t.Logf("linked after %s; attempts that failed: %d", time.Since(began), joins.logs.FilterMessageSnippet("retrying").Len())
			n.await(t, "too many connections at the cluster port")
		})
	}
}

// visit connects, and stays until the other end or the test ends that.
func visit(address, says string, stop <-chan struct{}, arrived func()) {
	conn, err := net.Dial("tcp", address)
	arrived()
	if err != nil {
		return
	}
	defer conn.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
	}()
	_, _ = io.WriteString(conn, says)
	select {
	case <-ended:
	case <-stop:
		_ = conn.Close()
		<-ended
	}
}

// TestCheckIsNoStranger checks that a load balancer that only connects is not logged as a warning.
func TestCheckIsNoStranger(t *testing.T) {
	n := newTable().start(t, nil)
	conn, err := net.Dial("tcp", n.Address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	n.await(t, "refused a connection at the cluster port")
	for _, e := range n.logs.FilterMessage("refused a connection at the cluster port").All() {
		if e.Level > zap.DebugLevel {
			t.Errorf("logged: %v", e)
		}
	}
}
