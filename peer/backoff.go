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

	// returnWithin bounds the pause of a client that the broker asks to return.
	returnWithin = 250 * time.Millisecond
	// servedAfter is how long a connection must last to show that the broker serves clients.
	servedAfter = time.Second
	// maxReturns is how often in a row a client returns to a broker that does not serve it.
	maxReturns = 3
)

// backoff counts failures in a row. The pauses are those of SPEC.md, section 17: 1, 2, 4,
// 8, 16, 30, 30 … s. Each is randomly up to 20 % shorter or longer, so that after a
// restart of the broker its clients don't reconnect in step.
type backoff struct {
	failures int
	returns  int // since a connection has last lasted for servedAfter
}

// next returns the pause before another attempt.
func (b *backoff) next() time.Duration {
	pause := min(firstPause<<min(b.failures, 5), maxPause)
	b.failures++
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

// after returns the pause after an attempt to connect that has ended with err. If the broker
// had let the client in, welcome says when. The pause is short, and not that of a failure, if
// the broker asks such a client to return.
func (b *backoff) after(welcome time.Time, err error) time.Duration {
	if welcome.IsZero() {
		return b.next()
	}
	returns, lasted := AsksToReturn(err), time.Since(welcome)
	if lasted >= servedAfter {
		b.returns = 0
	}
	if lasted >= stableAfter || lasted >= servedAfter && returns {
		b.reset()
	}
	if !returns || b.returns == maxReturns {
		return b.next()
	}
	b.returns++
	return time.Millisecond + rand.N(returnWithin-time.Millisecond)
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
