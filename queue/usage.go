package queue

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// measureEvery is the least time between two measurements of a mesh. After one that
	// takes long, the pause is measurePause times as long.
	measureEvery = time.Second
	measurePause = 20
	// measureTimeout is how long a measurement may take.
	measureTimeout = 30 * time.Second
)

// usage bounds how many bytes the waiting messages of a mesh take. It adds up what the
// store has counted, what was on its way into the store at that moment, and everything
// accepted since. The sum is never too low, and acknowledgements need not be counted. Once
// half of the limit is used, the store counts again in the background.
type usage struct {
	mu        sync.Mutex
	stored    int64 // as the store has counted
	since     int64 // accepted since it began to count
	counted   bool  // the store has counted at least once
	measuring bool
	tried     time.Time // when the last measurement ended
	took      time.Duration
	fresh     int64 // while measuring: accepted since that began
}

// take makes room for an open message, or returns ErrMeshFull. Until the store has counted
// for the first time, there is always room.
func (m *Mesh) take(a *Accepted) error {
	limit := m.queue.settings().MeshBytes
	if limit <= 0 {
		return nil
	}
	u, now := &m.usage, time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	total := u.stored + u.since + a.size()
	full := u.counted && total > limit
	if !full {
		u.since += a.size()
		u.fresh += a.size()
	}
	pause := max(measureEvery, measurePause*u.took)
	if !u.measuring && now.Sub(u.tried) >= pause && (!u.counted || total > limit/2) && m.queue.begin() {
		u.measuring, u.fresh = true, 0
		go func() {
			defer m.queue.end()
			m.measure()
		}()
	}
	if full {
		return ErrMeshFull
	}
	return nil
}

// measure makes the store count. A message that the store does not have yet is still open,
// or was accepted after fresh was reset.
func (m *Mesh) measure() {
	ctx, cancel := context.WithTimeout(m.queue.ctx, measureTimeout)
	defer cancel()
	begun := time.Now()
	open := m.open.size()
	stored, err := m.queue.store.Burden(ctx, m.id)
	if err != nil {
		m.queue.readFailed(fmt.Errorf("count what waits in mesh %s: %w", m.id, err))
	}
	u := &m.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	u.measuring, u.tried, u.took = false, time.Now(), time.Since(begun)
	if err == nil {
		u.stored, u.since, u.counted = stored.Size(), open+u.fresh, true
	}
}

// size returns what the message takes in the store as long as it waits, in bytes.
func (a *Accepted) size() int64 {
	return Burden{Messages: 1, Deliveries: int64(len(a.Recipients)), Bytes: int64(len(a.Nonce) + len(a.Ciphertext))}.Size()
}

// size returns what the open messages will take in the store, in bytes.
func (o *openEntries) size() (sum int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.byID {
		sum += e.accepted.size()
	}
	return sum
}
