package broker

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// No more check at a time than there are places, and a place is free again however a check
// ends.
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
					t.Errorf("%d check at a time", n)
				}
				all.Add(1)
				if i%3 == 0 {
					panic("a check has failed to end")
				}
				return wrong
			})
			if !errors.Is(err, wrong) {
				t.Errorf("the check's own error became %v", err)
			}
		})
	}
	everybody.Wait()
	if all.Load() != 100 || len(c) != 0 {
		t.Errorf("%d checks were done, %d places are taken", all.Load(), len(c))
	}
}
