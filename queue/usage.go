package queue

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// measureEvery is the least time between two measurements of a mesh. One that
	// takes long is followed by a pause of measurePause times as long.
	measureEvery = time.Second
	measurePause = 20
	// measureTimeout is how long a measurement may take.
	measureTimeout = 30 * time.Second
	// usageIdle is how long a mesh's usage is kept without a message.
	usageIdle = 15 * time.Minute
)

// usages bounds how many bytes the messages that wait in each mesh take. What a mesh uses is
// what the store has counted, what was under way to it then, and all that was taken
// since: never too little, and no acknowledgement has to say how much it frees. Once
// half of the limit is used, the store counts again, in the background.
type usages struct {
	mu     sync.Mutex
	byMesh map[wire.ID]*usage
}

type usage struct {
	mu        sync.Mutex
	stored    int64 // as the store has counted
	since     int64 // taken since it began to
	counted   bool  // it has, once at least
	measuring bool
	tried     time.Time // when the last measurement ended
	took      time.Duration
	fresh     int64 // while measuring: taken since that began
	used      time.Time
}

func (us *usages) get(mesh wire.ID) *usage {
	us.mu.Lock()
	defer us.mu.Unlock()
	u := us.byMesh[mesh]
	if u == nil {
		u = new(usage)
		us.byMesh[mesh] = u
	}
	return u
}

func (us *usages) forgetIdle(now time.Time) {
	us.mu.Lock()
	defer us.mu.Unlock()
	for mesh, u := range us.byMesh {
		u.mu.Lock()
		if !u.measuring && now.Sub(u.used) > usageIdle {
			delete(us.byMesh, mesh)
		}
		u.mu.Unlock()
	}
}

// take makes room for a message, which is among the open ones, or returns
// ErrMeshFull. Until the store has counted for the first time, there is room.
func (q *Queue) take(m *Accepted) error {
	limit := q.settings().MeshBytes
	if limit <= 0 {
		return nil
	}
	u, now := q.usages.get(m.MeshID), time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used = now
	total := u.stored + u.since + m.size()
	full := u.counted && total > limit
	if !full {
		u.since += m.size()
		u.fresh += m.size()
	}
	pause := max(measureEvery, measurePause*u.took)
	if !u.measuring && now.Sub(u.tried) >= pause && (!u.counted || total > limit/2) && q.begin() {
		u.measuring, u.fresh = true, 0
		go func() {
			defer q.end()
			u.measure(q, m.MeshID)
		}()
	}
	if full {
		return ErrMeshFull
	}
	return nil
}

// measure has the store count. What is not stored yet is still open, or was taken
// after fresh was set to 0.
func (u *usage) measure(q *Queue, mesh wire.ID) {
	ctx, cancel := context.WithTimeout(q.ctx, measureTimeout)
	defer cancel()
	begun := time.Now()
	open := q.open.size(mesh)
	stored, err := q.store.Burden(ctx, mesh)
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

// size returns what the open messages of a mesh will take in the store, in bytes.
func (o *openEntries) size(mesh wire.ID) (sum int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.byID {
		if e.accepted.MeshID == mesh {
			sum += e.accepted.size()
		}
	}
	return sum
}
