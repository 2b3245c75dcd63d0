package bench

import (
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func TestRetryable(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]bool{
		wire.AckQueueFull + ": too many": true, wire.AckTryAgain + ": away": true, wire.AckRateLimit + ": slow down": false,
		wire.AckPayloadTooLarge + ": 2 > 1": false, "": false,
	} {
		if got := retryable(reason); got != want {
			t.Errorf("%q: %v", reason, got)
		}
	}
}

// TestBurstRetries checks that a sender replaces every message that the broker had no room
// for.
func TestBurstRetries(t *testing.T) {
	t.Parallel()
	s := Settings{Peers: 2, Messages: 20, Size: 10, Timeout: Duration(patience)}
	r, err := Run(t.Context(), Burst, Config{Mesh: startLiar(t, "no room")}, s)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"sent": 42, "acknowledged": 40, "delivered": 40, "refused": 2, "delivered_share": 100, "lost": 0} {
		if got := value(t, r, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if len(r.Failed()) > 0 || len(r.Notes) != 1 {
		t.Errorf("failed: %v, notes: %q", r.Failed(), r.Notes)
	}
}
