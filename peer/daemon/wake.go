package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/attention"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

// heartbeat is how often a wake stream shows that the daemon is alive.
const heartbeat = 20 * time.Second

// serveWake streams pointers to a program that can wake the session. The stream belongs to the
// process rather than to the session: after a clear, it continues with the next session.
func (d *daemon) serveWake(c *call) error {
	var in local.Wake
	if err := c.decode(&in); err != nil {
		return err
	}
	switch in.Path {
	case local.PathMonitor, local.PathChannel, local.PathWaiter, local.PathTool:
	default:
		return invalid("path must be monitor, channel, waiter or tool")
	}
	if err := c.woken(local.Woken{}); err != nil {
		return nil //nolint:nilerr // the caller is gone
	}
	defer d.streams(c.p)()
	for s := c.s; s != nil; s = d.next(c.id.Number, s) {
		over := c.wakeIn(s, in.Path)
		s.lookAtReach()
		if over {
			return nil
		}
	}
	return nil
}

// next returns the session that a process runs after s has ended, or nil if it runs none.
func (d *daemon) next(n process.Number, s *session) *session {
	if now := d.sessionOf(n); now != s {
		return now
	}
	return nil
}

// wakeIn streams the pointers of one session, and reports whether the stream is over too when
// it returns.
func (c *call) wakeIn(s *session, path local.Path) (over bool) {
	if path == local.PathTool {
		return c.toolIn(s)
	}
	sub := s.desk.Attach(path, c.id)
	defer sub.Detach()
	s.lookAtReach()
	for {
		ctx, cancel := context.WithTimeout(c.ctx, heartbeat)
		offer, err := sub.Next(ctx)
		cancel()
		switch {
		case err == nil:
			err = c.woken(local.Woken{Pointer: offer.Text})
			offer.Done(err)
			if err != nil || path == local.PathWaiter {
				return true
			}
		case errors.Is(err, attention.ErrClosed):
			return false
		case errors.Is(err, attention.ErrReplaced), errors.Is(err, attention.ErrReleased):
			_ = c.woken(local.Woken{Over: true}) // the caller may be gone
			return true
		case c.ctx.Err() != nil || c.woken(local.Woken{}) != nil:
			return true
		}
	}
}

// toolIn keeps the stream of a process that offers the tool to a session open, and reports
// whether the stream is over when it returns.
func (c *call) toolIn(s *session) (over bool) {
	s.toolAttached(true)
	defer s.toolAttached(false)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return false
		case <-c.ctx.Done():
			return true
		case <-tick.C:
			if c.woken(local.Woken{}) != nil {
				return true
			}
		}
	}
}

// woken writes one line of the stream.
func (c *call) woken(w local.Woken) error {
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return c.write(b)
}
