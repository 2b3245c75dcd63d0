package broker

import (
	"errors"
	"testing"

	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// TestCountersBeginAtZero checks that what may be counted is there before it is: for Prometheus, a
// counter that appears with the value 1 has not increased.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	var s counters
	s.know()
	failures := s.storage.counts()
	for _, err := range []error{storage.ErrInUse, storage.ErrSetBack, storage.ErrSuspended, storage.ErrUnfit, errors.New("anything else"),
		&storage.Fault{Reason: storage.Unreachable, Err: errors.New("cut")}} {
		for _, operation := range []string{"open", "commit", "ping", "read", "sweep"} {
			if n, ok := failures[StorageError{operation, storage.ReasonOf(err)}]; !ok || n != 0 {
				t.Errorf("%s, %s: %d, %t", operation, storage.ReasonOf(err), n, ok)
			}
		}
	}
	refused, hellos, messages := s.refused.counts(), s.hellos.counts(), s.messages.counts()
	for _, code := range []string{string(wire.CodeCapacity), wire.AckQueueFull} {
		if _, ok := refused[code]; !ok {
			t.Errorf("no count of refusals for %s", code)
		}
	}
	if _, ok := hellos[string(wire.CodeReplayed)]; !ok {
		t.Error("no count of replayed hellos")
	}
	if _, ok := messages[MessageOutcome{wire.AckInvalid, "invalid"}]; !ok {
		t.Error("no count of messages without a known priority")
	}
}
