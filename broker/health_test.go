package broker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

// silent is a storage that does not answer while it is mute.
type silent struct {
	*sqlite.Store
	mute atomic.Bool
}

func (s *silent) Ping(ctx context.Context) error {
	if s.mute.Load() {
		<-ctx.Done()
	}
	return s.Store.Ping(ctx)
}

// TestHealthIsTheStorages checks that a health request that its client cancels does not
// make the storage count as down, and that a storage that does not answer soon does.
func TestHealthIsTheStorages(t *testing.T) {
	t.Parallel()
	store := openNew(t)
	storage := &silent{Store: store}
	s := serve(t, store, storage, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Ready(gone)
	await.Until(t, "the storage has answered", func() bool { // on a busy machine, not at the first try
		err := s.Ready(t.Context())
		if errors.Is(err, context.Canceled) {
			t.Fatalf("after a canceled request: %v", err)
		}
		return err == nil
	})
	storage.mute.Store(true)
	await.Until(s.t, "the storage is down", func() bool { return s.Health(t.Context()).DB == "down" })
	storage.mute.Store(false)
	await.Until(s.t, "it is up again", func() bool { return s.Health(t.Context()).DB == "up" })
}
