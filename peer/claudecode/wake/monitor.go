package wake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
)

const (
	parentInterval = 2 * time.Second        // how often to check that claude still runs
	searchInterval = 200 * time.Millisecond // how often to look for its registration
	// searchGrace is how long find accepts only the claude of its own session. Otherwise a
	// monitor that starts before its session is registered could take an outer session.
	searchGrace = 15 * time.Second
)

// Options configure Monitor and Wait.
type Options struct {
	Dir    peer.Dir
	PID    int                         // of claude; for Monitor also of another ancestor that lives as long
	Revive func(context.Context) error // see Listener
	Logf   func(format string, args ...any)
}

// Monitor prints each pointer as a line until claude ends. It keeps running even if another
// listener takes over, because Claude Code reports a monitor that ends, and doesn't start it
// again. It fails only if it can't print.
func Monitor(ctx context.Context, o Options, out io.Writer) error {
	ctx, stop := lineage.While(ctx, o.PID, parentInterval)
	defer stop()
	pid, ok := find(ctx, o.Dir, o.PID)
	if !ok {
		return nil
	}
	ctx, stop = lineage.While(ctx, pid, parentInterval)
	defer stop()
	l := Listener{Dir: o.Dir, PID: pid, Path: local.PathMonitor, Revive: o.Revive, Logf: o.Logf}
	err := l.Listen(ctx, func(pointer string) error {
		_, err := fmt.Fprintln(out, visible.Line(pointer, visible.Model)) // one line is one event
		return err
	})
	if errors.Is(err, ErrOver) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("print for Claude Code: %w", err)
}

// find waits until the claude process that started this one is registered.
func find(ctx context.Context, dir peer.Dir, likely int) (int, bool) {
	session := os.Getenv(lineage.EnvSession)
	ticker := time.NewTicker(searchInterval)
	defer ticker.Stop()
	for begun := time.Now(); ; {
		if pid, ok := lineage.Find(dir, os.Getpid(), session); ok {
			return pid, true
		}
		if _, err := local.ReadTicket(dir, likely); err == nil && time.Since(begun) >= searchGrace {
			return likely, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-ticker.C:
		}
	}
}
