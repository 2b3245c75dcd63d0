package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// schedule says when the messages of a fixed rate are due: evenly spaced, the pairs in turn.
type schedule struct {
	rate  float64 // messages per second
	pairs int
	total int // number of messages; 0 means no limit
}

// due returns when message n (0, 1, …) is due, since the first one.
func (s schedule) due(n int) time.Duration {
	return time.Duration(float64(n) / s.rate * float64(time.Second))
}

// until returns how many messages are due at a time since the first one.
func (s schedule) until(t time.Duration) int {
	n := int(t.Seconds() * s.rate) // approximately, because of rounding
	for ; n > 0 && s.due(n-1) > t; n-- {
	}
	for ; s.due(n) <= t; n++ {
	}
	if s.total > 0 {
		n = min(n, s.total)
	}
	return n
}

// share returns how many of the first n messages belong to a pair.
func (s schedule) share(n, pair int) int { return (n + s.pairs - 1 - pair) / s.pairs }

// follow calls send for every message when it is due. Each pair has its own goroutine, so that
// a slow pair doesn't delay the others. follow returns after the last message, or after ctx has
// ended and the messages that were due by then are sent. wait waits until a time; an error from
// it ends follow.
func (s schedule) follow(ctx context.Context, wait func(context.Context, time.Time) error, send func(pair int, due time.Duration)) {
	start := time.Now()
	var released atomic.Int64 // messages that are due
	wake := make([]chan struct{}, s.pairs)
	var all sync.WaitGroup
	for pair := range s.pairs {
		wake[pair] = make(chan struct{}, 1)
		all.Go(func() {
			sent := 0
			for range wake[pair] {
				for ; sent < s.share(int(released.Load()), pair); sent++ {
					send(pair, s.due(sent*s.pairs+pair))
				}
			}
		})
	}
	for n := 0; s.total == 0 || n < s.total; {
		if wait(ctx, start.Add(s.due(n))) != nil {
			break
		}
		due := max(s.until(time.Since(start)), n+1)
		released.Store(int64(due))
		for ; n < due; n++ {
			signal(wake[n%s.pairs])
		}
	}
	for _, w := range wake {
		close(w)
	}
	all.Wait()
}

// fine is the last part of a wait, for which waitUntil blocks a thread, because the runtime's
// timers may be a millisecond late.
const fine = 1500 * time.Microsecond

// waitUntil waits until a time, with a precision of about 0.1 ms if the system allows it.
func waitUntil(ctx context.Context, t time.Time) error {
	if d := time.Until(t) - fine; d > 0 && !pause(ctx, d) {
		return ctx.Err()
	}
	for d := time.Until(t); d > 0; d = time.Until(t) {
		preciseSleep(d)
	}
	return ctx.Err()
}
