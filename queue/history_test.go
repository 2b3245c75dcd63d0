package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// TestHistoryIsNotAskedForAgainAtOnce checks that a sender of many messages does not wait
// anew for each of them while the storage does not answer.
func TestHistoryIsNotAskedForAgainAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, q fixture) {
		frozen := &frozenSent{Store: q.store, frozen: true}
		_, other := open(t, frozen, journal.New(q.store, zap.NewNop(), journal.DefaultBudget), queue.Settings{DeliveryLease: time.Minute})
		prepare := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return other.Prepare(ctx, wire.ID{2})
		}
		begin := time.Now()
		for range 50 {
			if err := prepare(); !errors.Is(err, queue.ErrUnavailable) {
				t.Fatalf("the storage does not answer: got %v, want ErrUnavailable", err)
			}
		}
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("50 messages waited for %s, want at most 6s", took)
		}
		frozen.frozen = false
		pause(time.Second)
		if err := prepare(); err != nil {
			t.Errorf("the storage is back: %v", err)
		}
	})
}

// frozenSent is a store whose Sent does not answer while it is frozen.
type frozenSent struct {
	queue.Store
	frozen bool
}

func (s *frozenSent) Sent(ctx context.Context, mesh, member wire.ID, limit int) ([]queue.Sent, error) {
	if s.frozen {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Store.Sent(ctx, mesh, member, limit)
}
