// Package lineage finds the claude process that a helper process of Claude Code (hook, MCP
// server, monitor, status line) belongs to, and notices when it ends.
//
// The claude process identifies which helpers belong together. The session id can't: it
// changes with /clear, while the environment of a running helper keeps the old one. All
// functions are safe for concurrent use.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package lineage

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

// EnvPID is the variable in which Claude Code passes its own process id to hooks and to the
// status line.
const EnvPID = "CLAUDE_PID"

// EnvSession is the variable in which Claude Code passes the session id to every process that
// it starts. It is the id at the time of that start.
const EnvSession = "CLAUDE_CODE_SESSION_ID"

// ErrEnded is the cause of the context of [While] after the process has ended.
var ErrEnded = errors.New("claude has ended")

// maxDepth limits the search, because a process table that changes meanwhile could contain a
// cycle.
const maxDepth = 64

// FromEnv returns the claude process of a hook or a status line: CLAUDE_PID, or else the
// parent, which is right for a hook that runs without a shell.
func FromEnv() int {
	if pid, err := strconv.Atoi(os.Getenv(EnvPID)); err == nil && pid > 0 { // it may be 1 in a container
		return pid
	}
	return os.Getppid()
}

// Find returns the nearest ancestor of process pid that the daemon knows to run the given
// session, ignoring case. If session is "", it accepts any registered ancestor. It reports
// false if there is none (yet).
//
// The session matters if one Claude Code was started inside another: until the inner one is
// registered, the nearest registered ancestor is the outer one.
func Find(dir configdir.Dir, pid int, session string) (int, bool) {
	for range maxDepth {
		var err error
		if pid, err = parent(pid); err != nil || pid <= 0 {
			return 0, false
		}
		if ticket, err := local.ReadTicket(dir, pid); err == nil && current(ticket) &&
			(session == "" || strings.EqualFold(session, ticket.SessionID)) {
			return pid, true
		}
	}
	return 0, false
}

// current reports whether a ticket belongs to the process that has this id now, and not to an
// earlier process with the same id.
func current(t local.Ticket) bool {
	id, err := process.Of(t.PID)
	return err == nil && (t.ProcStart == "" || t.ProcStart == id.Start)
}

// While returns a context that ends with the cause ErrEnded when the process ends. It checks
// the process once per interval.
func While(ctx context.Context, pid int, interval time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var id process.ID
	ended := func() bool {
		if id.PID != 0 {
			return !id.Alive()
		}
		var err error
		id, err = process.Of(pid)
		return errors.Is(err, process.ErrGone)
	}
	if ended() { // check now, so that the caller doesn't start any work
		cancel(ErrEnded)
		return ctx, func() {}
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for !ended() {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		cancel(ErrEnded)
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-watched
	}
}
