package bench

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// burstPause is how long a sender waits before it replaces messages that the broker had no room
// for.
const burstPause = 100 * time.Millisecond

// burstSender tracks the messages of one sender in a burst.
type burstSender struct {
	open  atomic.Int64  // messages that are not settled
	again atomic.Int64  // messages that the broker had no room for
	quiet chan struct{} // signals that open became 0
}

// burst makes every session send to all others in turn, as fast as the broker accepts.
func (r *run) burst() error {
	peers, count := r.settings.Peers, r.settings.Messages
	if err := r.add(peers, &r.config.Mesh); err != nil {
		return err
	}
	senders := make([]burstSender, peers)
	for i, s := range r.sessions {
		s.draft = newDraft(r.settings.Size, s.target, 0)
		senders[i].quiet = make(chan struct{}, 1)
	}
	r.recipient = func(sender, place int) int { return (sender + 1 + place%(peers-1)) % peers }
	r.onRefused = func(s *session, reason string) {
		if retryable(reason) {
			senders[s.index].again.Add(1)
		}
	}
	r.onSettled = func(s *session) {
		if b := &senders[s.index]; b.open.Add(-1) == 0 {
			signal(b.quiet)
		}
	}
	if err := r.connectAll(); err != nil {
		return err
	}
	// The timeout is for the whole burst, including the sending.
	ctx, cancel := context.WithTimeout(r.ctx, time.Duration(r.settings.Timeout))
	defer cancel()
	from := r.begin("sending")
	r.bounded(ctx, 0, func() {
		var all sync.WaitGroup
		for i, s := range r.sessions {
			all.Go(func() { senders[i].send(ctx, s, count) })
		}
		all.Wait()
	})
	seconds := (time.Duration(r.lastArrival.Load()) - from.start).Seconds()
	r.result.add("delivered_share", float64(r.delivered.Load())/float64(peers*count)*100, "%", higher)
	r.result.add("seconds", max(seconds, 0), "s", lower)
	r.tally(from)
	return nil
}

// retryable reports whether a sender retries after this refusal. It does not retry after a rate
// limit, because then the run would only measure that limit.
func retryable(reason string) bool {
	word, _, _ := strings.Cut(reason, ":")
	return word == wire.AckQueueFull || word == wire.AckTryAgain
}

// send sends count messages and waits until they are settled. Then it sends new messages in
// place of those that the broker had no room for, and so on.
func (b *burstSender) send(ctx context.Context, s *session, count int) {
	for count > 0 {
		for range count {
			if ctx.Err() != nil {
				return
			}
			b.open.Add(1)
			s.send(-1)
		}
		for b.open.Load() > 0 {
			select {
			case <-b.quiet:
			case <-ctx.Done():
				return
			}
		}
		count = int(b.again.Swap(0))
		if count > 0 && !pause(ctx, burstPause) {
			return
		}
	}
}
