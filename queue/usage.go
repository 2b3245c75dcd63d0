package queue

import (
	"context"
	"sync"
	"time"
)

const (
	// measureEvery is the least time between two measurements of a mesh. One that
	// takes long is followed by a pause of measurePause times as long.
	measureEvery = time.Second
	measurePause = 20
	// measureTimeout is how long a measurement may take.
	measureTimeout = 30 * time.Second
)

// usage bounds how many bytes the messages that wait in a mesh take. What it uses is
// what the store has counted, what was under way to it then, and all that was taken
// since: never too little, and no acknowledgement has to say how much it frees. Once
// half of the limit is used, the store counts again, in the background.
type usage struct {
	mu        sync.Mutex
	stored    int64 // as the store has counted
	since     int64 // taken since it began to
	counted   bool  // it has, once at least
	measuring bool
	tried     time.Time // when the last measurement ended
	took      time.Duration
	fresh     int64 // while measuring: taken since that began
}

// take makes room for a message, which is among the open ones, or returns
// ErrMeshFull. Until the store has counted for the first time, there is room.
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

// measure has the store count. What is not stored yet is still open, or was taken
// after fresh was set to 0.
func (m *Mesh) measure() {
	ctx, cancel := context.WithTimeout(m.queue.ctx, measureTimeout)
	defer cancel()
	begun := time.Now()
	open := m.open.size()
	stored, err := m.queue.store.Burden(ctx, m.id)
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
	return Burden{1, int64(len(a.Recipients)), int64(len(a.Nonce) + len(a.Ciphertext))}.Size()
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
