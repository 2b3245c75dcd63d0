package peer

import (
	"context"
	"time"
)

// keepAliveLoop sends pings and ends a connection on which nothing arrives.
func (c *conn) keepAliveLoop(probe <-chan struct{}) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	silence := time.NewTimer(silenceLimit)
	defer silence.Stop()
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
			// The silence timer notices if the pong does not arrive.
			ctx, cancel := context.WithTimeout(c.ctx, pingEvery/2)
			_ = c.ws.Ping(ctx)
			cancel()
		case <-probe:
			ctx, cancel := context.WithTimeout(c.ctx, probeLimit)
			err := c.ws.Ping(ctx) // returns with the pong
			cancel()
			if err != nil {
				c.fail(errNoAnswer)
				return
			}
		case <-silence.C:
			left := silenceLimit - (time.Since(c.start) - time.Duration(c.heard.Load()))
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
