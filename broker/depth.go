package broker

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/queue"
)

// depthPause is the pause after a count, as a multiple of the time that the count took.
const depthPause = 50

// depth is the last count of what waits in the queues.
type depth struct {
	mu  sync.Mutex
	was queue.Depth
	// These are owned by the sweeper.
	due    time.Time // of the next count
	failed bool      // the last count failed
}

func (d *depth) last() queue.Depth {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.was
}

// measure makes the storage count, if a count is due.
func (b *Broker) measure(ctx context.Context) error {
	began := time.Now()
	if began.Before(b.depth.due) {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	d, err := b.storage.Depth(short)
	b.depth.due = time.Now().Add(depthPause * time.Since(began))
	b.depth.failed = err != nil
	if err != nil {
		if ctx.Err() == nil {
			b.storageFailed("read", err)
		}
		return err
	}
	b.depth.mu.Lock()
	b.depth.was = d
	b.depth.mu.Unlock()
	return nil
}
