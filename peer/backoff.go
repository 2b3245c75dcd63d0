package peer

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// stableAfter is how long a connection must last before the pauses start over.
	stableAfter = time.Minute
)

// backoff counts failures in a row. The pauses are those of SPEC.md, section 17: 1, 2, 4,
// 8, 16, 30, 30 … s. Each is randomly up to 20 % shorter or longer, so that after a
// restart of the broker its clients don't reconnect in step.
type backoff struct{ failures int }

// next returns the pause before another attempt.
func (b *backoff) next() time.Duration {
	pause := min(firstPause<<min(b.failures, 5), maxPause)
	b.failures++
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

func (b *backoff) reset() { b.failures = 0 }

// sleep waits for d or until ctx ends. It reports whether d passed.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
