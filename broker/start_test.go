package broker

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/audit"
)

// claiming is a storage whose claim waits for the test.
type claiming struct {
	Storage
	begun, over chan struct{}
}

func (c *claiming) Migrate(context.Context) error { return nil }

func (c *claiming) Claim(context.Context) error {
	close(c.begun)
	<-c.over
	return nil
}

func (c *claiming) AuditKey(_ context.Context, fresh audit.Key) (audit.Key, error) { return fresh, nil }

func (c *claiming) Close() error { return nil }

// TestStopDuringStart checks that a broker that is stopped while it opens its storage stays
// stopped.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	storage := &claiming{begun: make(chan struct{}), over: make(chan struct{})}
	b := New(Options{Settings: DefaultSettings(), Storage: storage, Log: zap.NewNop()})
	started := make(chan error)
	go func() { started <- b.Start(t.Context()) }()
	<-storage.begun
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(storage.over)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if b.spawn(func() {}) {
		t.Error("the broker starts goroutines after it was stopped")
	}
	if b.notOpen == nil {
		t.Error("the storage counts as open after the broker was stopped")
	}
}
