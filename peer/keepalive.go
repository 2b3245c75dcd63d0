package peer

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	pingEvery    = 30 * time.Second
	silenceLimit = 75 * time.Second
	probeLimit   = 5 * time.Second // for the answer to a probe

	// While an answer is due and nothing at all arrives for doubtAfter, the client pings. If nothing
	// arrives for doubtLimit more, it gives the connection up: a broker that is slow to answer a
	// request is quick to answer a ping. Before both, it waits for as long as a slow line is busy
	// with what was written: at slowestLine, in bytes a second, but for no longer than busyLimit,
	// because writeTimeout ends a connection that can't take more.
	doubtAfter  = 3 * time.Second
	doubtLimit  = 3 * time.Second
	slowestLine = 8 << 10
	busyLimit   = 15 * time.Second
)

// signs are the signs of life of a connection. Its methods are safe for concurrent use.
type signs struct {
	start   time.Time
	heard   atomic.Int64 // when the newest one came, as a time.Duration since start
	stalled atomic.Bool  // whether the reader waits for the application, so that it can't hear
}

func (s *signs) hear() { s.heard.Store(int64(time.Since(s.start))) }

// stall says that the reader waits for the application, until the caller calls the returned function.
func (s *signs) stall() (over func()) {
	s.stalled.Store(true)
	return func() {
		s.hear()
		s.stalled.Store(false)
	}
}

// quiet returns for how long the reader has waited in vain.
func (s *signs) quiet() time.Duration {
	if s.stalled.Load() {
		return 0
	}
	return time.Since(s.start) - time.Duration(s.heard.Load())
}

// heardReader takes all bytes that come for signs of life. On a slow line a frame takes long.
type heardReader struct {
	io.Reader
	signs *signs
}

func (r heardReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.signs.hear()
	return n, err
}

// keepAliveLoop sends pings and ends a connection on which nothing arrives.
func (c *conn) keepAliveLoop(probe <-chan struct{}) {
	var pings sync.WaitGroup
	defer pings.Wait()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	silence := time.NewTimer(silenceLimit)
	defer silence.Stop()
	doubt := time.NewTimer(doubtAfter)
	defer doubt.Stop()
	var renew <-chan time.Time
	if c.renew > 0 {
		timer := time.NewTimer(c.renew)
		defer timer.Stop()
		renew = timer.C
	}
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ping.C:
			pings.Go(func() { c.answers(pingEvery / 2) }) // the silence timer notices if the pong does not arrive
		case <-probe:
			if !c.answers(probeLimit) {
				c.fail(errNoAnswer)
				return
			}
		case <-c.asked:
			doubt.Reset(doubtAfter)
		case <-doubt.C:
			left, due := c.untilDoubt()
			switch {
			case !due: // until the next request
			case left > 0:
				doubt.Reset(left)
			case c.answers(doubtLimit):
				doubt.Reset(doubtAfter)
			default:
				c.fail(errNoAnswer)
				return
			}
		case <-silence.C:
			left := silenceLimit - c.signs.quiet()
			if left <= 0 {
				c.fail(errSilent)
				return
			}
			silence.Reset(left)
		case <-renew:
			c.fail(errRenew)
			return
		}
	}
}

// answers sends a ping and reports whether the connection shows a sign of life within a time.
func (c *conn) answers(within time.Duration) bool {
	before := c.signs.heard.Load()
	ctx, cancel := context.WithTimeout(c.ctx, within)
	defer cancel()
	err := c.ws.Ping(ctx) // returns with the pong
	return err == nil || c.signs.heard.Load() != before || c.signs.stalled.Load()
}

// untilDoubt returns how much longer nothing may arrive before the client doubts that the connection is
// alive. due reports whether any answer is due.
func (c *conn) untilDoubt() (left time.Duration, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return 0, false
	}
	quiet := min(c.signs.quiet(), time.Since(c.waits), max(time.Since(c.busy), 0))
	return doubtAfter - quiet, true
}

// occupy notes that bytes are about to be written.
func (c *conn) occupy(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.busy.Before(now) {
		c.busy = now
	}
	c.busy = c.busy.Add(time.Duration(bytes) * time.Second / slowestLine)
	if most := now.Add(busyLimit); c.busy.After(most) {
		c.busy = most
	}
}
