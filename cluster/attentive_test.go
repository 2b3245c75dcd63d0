package cluster

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestAttentive checks that a connection stays while nothing comes for almost silence, whenever that
// begins, and ends within five seconds after the last byte.
func TestAttentive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		a := newAttentive(near)
		defer a.Close()
		last := make(chan time.Time, 1)
		go func() {
			defer func() { last <- time.Now() }()
			for phase := range 100 {
				for _, gap := range []time.Duration{time.Duration(phase) * 13 * time.Millisecond, silence - time.Millisecond} {
					time.Sleep(gap)
					if _, err := far.Write([]byte{'x'}); err != nil {
						t.Errorf("after %s without a byte, in round %d: %v", gap, phase, err)
						return
					}
				}
			}
		}()
		var err error
		for buf := make([]byte, 1); err == nil; {
			_, err = a.Read(buf)
		}
		if took := time.Since(<-last); !errors.Is(err, errSilent) || took >= 5*time.Second {
			t.Errorf("the connection ended %s after the last byte: %v", took, err)
		}
	})
}
