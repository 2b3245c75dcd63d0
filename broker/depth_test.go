package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
)

// slow is a storage that never finishes counting.
type slow struct{ Storage }

func (slow) Depth(ctx context.Context) (queue.Depth, error) {
	<-ctx.Done()
	return queue.Depth{}, ctx.Err()
}

// TestCountTakesTooLong checks that a count that takes too long is a failure of the storage, and
// one that ends with the broker is not.
func TestCountTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Storage: slow{}, Log: zap.NewNop()})
		failures := func() int64 { return b.stats.storage.counts()[StorageError{"read", storage.NoAnswer}] }
		_ = b.measure(t.Context())
		if n := failures(); n != 1 {
			t.Errorf("got %d failures, want 1", n)
		}
		b.depth.due = time.Time{}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		_ = b.measure(stopped)
		if n := failures(); n != 1 {
			t.Errorf("got %d failures after the broker was stopped, want 1", n)
		}
	})
}
