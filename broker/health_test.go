package broker_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

// silent is a storage that may not answer.
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

// Who asks and goes away says nothing about the storage, and a storage that does not
// answer is down soon.
func TestHealthIsTheStorages(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "broker.db"))
	if err != nil {
		t.Fatal(err)
	}
	storage := &silent{Store: store}
	s := serve(t, store, storage, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Ready(gone)
	await.Until(t, "the storage has answered", func() bool { // not in time, on a busy machine
		err := s.Ready(t.Context())
		if errors.Is(err, context.Canceled) {
			t.Fatalf("after somebody who went away: %v", err)
		}
		return err == nil
	})
	storage.mute.Store(true)
	await.Until(s.t, "the storage is down", func() bool { return s.Health(t.Context()).DB == "down" })
	storage.mute.Store(false)
	await.Until(s.t, "it is up again", func() bool { return s.Health(t.Context()).DB == "up" })
}
