package wake

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/local"
)

// waiterPatience is how long a waiter does without a daemon. The end of the next
// turn starts another one.
const waiterPatience = 10 * time.Minute

// errWoken ends Listen when there is a pointer.
var errWoken = errors.New("woken")

// Wait returns the first pointer, or "" when there is nothing to wait for any more:
// a newer waiter is there, or claude or ctx has ended.
func Wait(ctx context.Context, o Options) string {
	ctx, stop := lineage.While(ctx, o.PID, parentInterval)
	defer stop()
	var pointer string
	l := Listener{Dir: o.Dir, PID: o.PID, Path: local.PathWaiter, Revive: o.Revive, Patience: waiterPatience, Logf: o.Logf}
	err := l.Listen(ctx, func(p string) error {
		pointer = p
		return errWoken
	})
	if err != nil && o.Logf != nil {
		o.Logf("waiter ends: %v", err)
	}
	return pointer
}
