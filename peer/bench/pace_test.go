package bench

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// waitOn waits on the bubble's clock.
func waitOn(ctx context.Context, t time.Time) error {
	if d := time.Until(t); d > 0 && !pause(ctx, d) {
		return ctx.Err()
	}
	return ctx.Err()
}

// sends records the messages that a schedule sends, and when.
type sends struct {
	mu   sync.Mutex
	due  map[int][]time.Duration // by pair
	late []time.Duration
}

func (s *sends) note(start time.Time, pair int, due time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due == nil {
		s.due = make(map[int][]time.Duration)
	}
	s.due[pair] = append(s.due[pair], due)
	s.late = append(s.late, time.Since(start)-due)
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got sends
		start := time.Now()
		schedule{rate: 100, pairs: 3, total: 10}.follow(t.Context(), waitOn, func(pair int, due time.Duration) { got.note(start, pair, due) })
		if end := time.Since(start); end != 90*time.Millisecond {
			t.Errorf("it took %v", end)
		}
		for pair, want := range [][]time.Duration{{0, 30, 60, 90}, {10, 40, 70}, {20, 50, 80}} {
			if len(got.due[pair]) != len(want) {
				t.Fatalf("pair %d sent at %v", pair, got.due[pair])
			}
			for i := range want {
				if got.due[pair][i] != want[i]*time.Millisecond {
					t.Errorf("pair %d sent at %v", pair, got.due[pair])
				}
			}
		}
		for _, late := range got.late {
			if late != 0 {
				t.Errorf("late: %v", got.late)
			}
		}
	})
}

// TestScheduleOmitsNothing checks that a pair that was blocked sends the messages that it
// has missed, with their original times, and doesn't delay the other pairs.
func TestScheduleOmitsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got sends
		start := time.Now()
		schedule{rate: 1000, pairs: 2, total: 2000}.follow(t.Context(), waitOn, func(pair int, due time.Duration) {
			if pair == 0 && due == 100*time.Millisecond {
				time.Sleep(500 * time.Millisecond) // the broker doesn't read
			}
			got.note(start, pair, due)
		})
		var worst time.Duration
		for _, late := range got.late {
			worst = max(worst, late)
		}
		if len(got.due[0]) != 1000 || len(got.due[1]) != 1000 || worst != 500*time.Millisecond {
			t.Errorf("%d and %d sent, the latest %v late", len(got.due[0]), len(got.due[1]), worst)
		}
		late := 0
		for _, d := range got.late {
			if d > 0 {
				late++
			}
		}
		if late != 250 { // 500 were due in that time, half of them for the other pair
			t.Errorf("%d were late", late)
		}
	})
}

func TestScheduleEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var got sends
		start := time.Now()
		schedule{rate: 10, pairs: 1}.follow(ctx, waitOn, func(pair int, due time.Duration) { got.note(start, pair, due) })
		if n := len(got.due[0]); time.Since(start) != time.Second || n < 10 || n > 11 {
			t.Errorf("%d were sent in %v", n, time.Since(start))
		}
	})
}

func TestScheduleCounts(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{.3, 1, 3, 7, 200, 9999, 1e6} {
		s := schedule{rate: rate, pairs: 7}
		for n := range 1000 {
			if due := s.due(n); s.until(due) < n+1 || n > 0 && s.until(due-1) > n {
				t.Fatalf("rate %v: at %v, %d are due, want %d", rate, due, s.until(due), n+1)
			}
			sum := 0
			for pair := range 7 {
				sum += s.share(n, pair)
			}
			if sum != n {
				t.Fatalf("%d messages are shared out as %d", n, sum)
			}
		}
	}
}

func TestWaitUntil(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{-time.Second, 0, 300 * time.Microsecond, 3 * time.Millisecond} {
		at := time.Now().Add(d)
		if err := waitUntil(t.Context(), at); err != nil || time.Now().Before(at) {
			t.Errorf("%v: back at %v, %v", d, time.Until(at), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if waitUntil(ctx, time.Now().Add(time.Hour)) == nil {
		t.Error("the wait did not end with its context")
	}
}
