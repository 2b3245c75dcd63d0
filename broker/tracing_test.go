package broker

import "testing"

// TestUntracedSendsCostNothing checks that tracing allocates nothing while it is off.
func TestUntracedSendsCostNothing(t *testing.T) {
	c, a := &conn{broker: &Broker{}}, &arrival{}
	if n := testing.AllocsPerRun(100, func() {
		c.request = tracedRequest(t.Context())
		a.trace = c.trace(a)
		if a.follow() != nil {
			t.Error("the queue follows a message that is not traced")
		}
		a.trace.answered("accepted", false)
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}
