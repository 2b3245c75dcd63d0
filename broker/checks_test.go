package broker

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestChecksTakeTurns checks that no more checks run at a time than there are places, and
// that a check frees its place also if it panics.
func TestChecksTakeTurns(t *testing.T) {
	t.Parallel()
	const places = 2
	c := make(checks, places)
	var now, all atomic.Int32
	wrong := errors.New("wrong")
	var everybody sync.WaitGroup
	for i := range 100 {
		everybody.Go(func() {
			defer func() { _ = recover() }()
			err := c.do(func() error {
				defer now.Add(-1)
				if n := now.Add(1); n > places {
					t.Errorf("%d checks run at a time, want at most %d", n, places)
				}
				all.Add(1)
				if i%3 == 0 {
					panic("a check that panics")
				}
				return wrong
			})
			if !errors.Is(err, wrong) {
				t.Errorf("got error %v, want the check's own", err)
			}
		})
	}
	everybody.Wait()
	if all.Load() != 100 || len(c) != 0 {
		t.Errorf("%d checks ran and %d places are taken, want 100 and 0", all.Load(), len(c))
	}
}
