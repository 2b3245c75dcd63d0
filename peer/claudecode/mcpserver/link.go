package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// patience is how long a call waits until its session is registered. Claude Code may
	// accept a prompt before the hook that registers the session has ended.
	patience    = 2 * time.Second
	pause       = 50 * time.Millisecond // between two tries
	callTimeout = 20 * time.Second      // of one call to the daemon
)

// errNoSession tells a model that its session isn't in a mesh.
var errNoSession = errors.New("this session is not connected to a mesh: it was not started by `claudemesh launch`, or its hooks have not run yet. " +
	"Try again; if that fails, too, ask your user to run `claudemesh doctor`")

// link calls the daemon for the session that claude runs now.
type link struct {
	dir     peer.Dir
	session string
	start   func(context.Context) error
	pid     atomic.Int64 // of claude
}

func newLink(c *Config) *link {
	l := &link{dir: c.Dir, session: c.Session, start: c.Start}
	l.pid.Store(int64(c.PID))
	return l
}

// call calls the daemon for the session. It waits until the session is registered, and starts
// the daemon if none runs. If the outcome of a call is unknown, it repeats the call once, so
// the call must be safe to repeat.
func (l *link) call(ctx context.Context, verb string, in, out any) error {
	begun, started, repeated := time.Now(), false, false
	for {
		err := l.once(ctx, verb, in, out)
		var refused *local.Error
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.As(err, &refused) && refused.Code != local.CodeUnauthorized:
			return err
		case errors.Is(err, local.ErrNotRunning):
			if started || l.start == nil {
				return fmt.Errorf("%w; ask your user to run `claudemesh doctor`", err)
			}
			started = true
			if err := l.startDaemon(ctx); err != nil {
				return err
			}
			begun = time.Now()
			continue
		case errors.As(err, &refused), errors.Is(err, fs.ErrNotExist):
			// The session isn't registered yet, or claude is between two sessions.
			if time.Since(begun) >= patience {
				return errNoSession
			}
		case repeated:
			return err
		default:
			repeated = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (l *link) startDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := l.start(ctx); err != nil {
		return fmt.Errorf("the claudemesh daemon isn't running, and starting it failed (%w); ask your user to run `claudemesh doctor`", err)
	}
	return nil
}

// once makes one attempt. It reads the token each time, because daemon and session may have
// changed.
func (l *link) once(ctx context.Context, verb string, in, out any) error {
	client, err := local.Session(l.dir, l.claude())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.Call(ctx, verb, in, out)
}

// claude returns the claude process: the parent, or, if another process is in between, the
// ancestor that runs the session in which this process was started.
func (l *link) claude() int {
	pid := int(l.pid.Load())
	if _, err := local.ReadTicket(l.dir, pid); err == nil || l.session == "" {
		return pid
	}
	if found, ok := lineage.Find(l.dir, os.Getpid(), l.session); ok {
		l.pid.Store(int64(found))
		return found
	}
	return pid
}
