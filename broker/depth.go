package broker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/queue"
)

// depthPause is how many times as long as counting took the storage is left alone after it.
const depthPause = 50

// depth is what the storage has counted last in the queues.
type depth struct {
	mu  sync.Mutex
	was queue.Depth
	due time.Time // not to be counted again before; owned by the sweeper
}

func (d *depth) last() queue.Depth {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.was
}

// measure has the storage count, unless that was costly not long ago.
func (b *Broker) measure(ctx context.Context) {
	began := time.Now()
	if began.Before(b.depth.due) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	d, err := b.storage.Depth(ctx)
	b.depth.due = time.Now().Add(depthPause * time.Since(began))
	if err != nil {
		if ctx.Err() == nil {
			b.storageFailed("read", err)
			b.log.Warn("counting waiting messages failed", zap.Error(err))
		}
		return
	}
	b.depth.mu.Lock()
	b.depth.was = d
	b.depth.mu.Unlock()
}
