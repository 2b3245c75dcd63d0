package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// patience is how long a call waits for its session to be registered: the hook
	// that does it runs while Claude Code already takes prompts.
	patience    = 2 * time.Second
	pause       = 50 * time.Millisecond // between two looks
	callTimeout = 20 * time.Second      // for one call of the daemon
)

// errNoSession is what a model is told when its session is in no mesh.
var errNoSession = errors.New("this session is not connected to a mesh: it was not started by `claudemesh launch`, or its hooks have not run yet. " +
	"Try once more; if that fails too, ask your user to run `claudemesh doctor`")

// link speaks to the daemon for the session that claude runs now.
type link struct {
	dir     peer.Dir
	session string
	start   func(context.Context) error

	mu  sync.Mutex
	pid int // of claude
}

func newLink(c *Config) *link {
	return &link{dir: c.Dir, session: c.Session, start: c.Start, pid: c.PID}
}

// call does a session call. It waits for the session to be registered, and starts
// the daemon if there is none. A call of which nobody knows what came of it is
// repeated once, so in must be safe to repeat.
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
			// Not registered yet, or between two sessions.
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
		return fmt.Errorf("the claudemesh daemon does not run and could not be started (%w); ask your user to run `claudemesh doctor`", err)
	}
	return nil
}

// once reads the token anew, as the daemon and the session may be other ones by now.
func (l *link) once(ctx context.Context, verb string, in, out any) error {
	client, err := local.Session(l.dir, l.claude())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.Call(ctx, verb, in, out)
}

// claude is the parent, or, if something stands between, the ancestor that runs
// the session that this process began in.
func (l *link) claude() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := local.ReadTicket(l.dir, l.pid); err == nil || l.session == "" {
		return l.pid
	}
	if pid, ok := lineage.Find(l.dir, os.Getpid(), l.session); ok {
		l.pid = pid
	}
	return l.pid
}
