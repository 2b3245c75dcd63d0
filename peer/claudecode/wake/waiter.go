package wake

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/local"
)

// waiterPatience is how long a waiter waits for a daemon. At the end of the next turn, Claude
// Code starts another waiter.
const waiterPatience = 10 * time.Minute

// errWoken ends Listen after the first pointer.
var errWoken = errors.New("woken")

// Wait returns the first pointer. It returns "" if a newer waiter has taken over, or if claude
// or ctx has ended.
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
