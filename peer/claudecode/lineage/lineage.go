// Package lineage finds the claude process that a helper process of Claude Code
// (hook, MCP server, monitor, status line) belongs to, and tells when it ends.
//
// The claude process is what ties the helpers of one session together: the
// session's id changes with /clear, while the environment of a running helper
// keeps the old one. All functions are safe for concurrent use.
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

// EnvPID is the variable in which Claude Code gives its own process id to hooks
// and to the status line.
const EnvPID = "CLAUDE_PID"

// EnvSession is the variable in which Claude Code gives the id of the session to
// every process below it, as it was when that process began.
const EnvSession = "CLAUDE_CODE_SESSION_ID"

// ErrEnded is the cause of a context of [While] whose process has ended.
var ErrEnded = errors.New("claude has ended")

// maxDepth bounds the way up, so that a table that changes meanwhile can't make
// a circle of it.
const maxDepth = 64

// FromEnv returns the claude process of a hook or a status line: CLAUDE_PID, else
// the parent, which it is for hooks without a shell between.
func FromEnv() int {
	if pid, err := strconv.Atoi(os.Getenv(EnvPID)); err == nil && pid > 0 { // 1 in a container that runs nothing else
		return pid
	}
	return os.Getppid()
}

// Find looks among the ancestors of process pid, the nearest first, for one that
// is registered with the daemon as running the given session, in any case of its
// letters; any registered one will do when session is "". It reports false when there is none (yet).
//
// The session matters where one Claude Code was started inside another: until the
// inner one is registered, the nearest registered ancestor is the outer one.
func Find(dir configdir.Dir, pid int, session string) (int, bool) {
	for range maxDepth {
		parent, err := Parent(pid)
		if err != nil || parent <= 0 {
			return 0, false
		}
		if ticket, err := local.ReadTicket(dir, parent); err == nil && current(ticket) &&
			(session == "" || strings.EqualFold(session, ticket.SessionID)) {
			return parent, true
		}
		pid = parent
	}
	return 0, false
}

// current tells a ticket of the process that has that number now from one that
// its namesake has left behind.
func current(t local.Ticket) bool {
	id, err := process.Of(t.PID)
	return err == nil && (t.ProcStart == "" || t.ProcStart == id.Start)
}

// While returns a context that ends, with the cause ErrEnded, when the process
// has. It is looked for once every interval.
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
	if ended() { // at once: who calls must not begin
		cancel(ErrEnded)
		return ctx, func() {}
	}
	go func() {
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
	return ctx, func() { cancel(context.Canceled) }
}
