package bench

import (
	"context"
	"sync"
	"time"
)

// refusedPause is how long a throughput sender waits after a refusal, unless Settings.Resend is
// set.
const refusedPause = 100 * time.Millisecond

// makePairs adds sessions. The first n send, each to one of the next n.
func (r *run) makePairs(n, sessions int) error {
	if err := r.add(sessions, &r.config.Mesh); err != nil {
		return err
	}
	for _, s := range r.sessions[:n] {
		s.draft = newDraft(r.settings.Size, s.target, 0)
	}
	r.recipient = func(sender, _ int) int { return sender + n }
	return nil
}

// throughput keeps a window of messages in flight between each pair.
func (r *run) throughput() error {
	n := r.settings.Pairs
	if err := r.makePairs(n, 2*n); err != nil {
		return err
	}
	free := make([]chan struct{}, n)
	for i := range free {
		free[i] = make(chan struct{}, r.settings.Window)
		for range r.settings.Window {
			free[i] <- struct{}{}
		}
	}
	r.onSettled = func(sender *session) { free[sender.index] <- struct{}{} }
	if err := r.connectAll(); err != nil {
		return err
	}
	ctx, cancel := r.ctx, context.CancelFunc(func() {})
	if d := time.Duration(r.settings.Duration); d > 0 {
		ctx, cancel = context.WithTimeout(ctx, d)
	}
	defer cancel()
	from := r.begin("sending")
	r.bounded(ctx, time.Duration(r.settings.Timeout), func() {
		var all sync.WaitGroup
		for i := range n {
			count := -1 // no limit
			if total := r.settings.Messages; total > 0 {
				count = (total + n - 1 - i) / n
			}
			all.Go(func() { r.fill(ctx, r.sessions[i], free[i], count) })
		}
		all.Wait()
	})
	r.settleAll()
	r.tally(from)
	return nil
}

// fill sends count messages, each as soon as the window has room.
func (r *run) fill(ctx context.Context, s *session, free <-chan struct{}, count int) {
	refused := uint64(0)
	for n := 0; n != count; n++ {
		select {
		case <-free:
		case <-ctx.Done():
			return
		}
		if now := r.refused.Load(); now > refused && !r.settings.Resend {
			refused = now
			if !pause(ctx, refusedPause) {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		s.send(-1)
	}
}

// rate sends at a fixed rate.
func (r *run) rate() error {
	n := r.settings.Pairs
	if err := r.makePairs(n, 2*n); err != nil {
		return err
	}
	if err := r.connectAll(); err != nil {
		return err
	}
	from := r.begin("sending")
	r.pace(r.ctx, r.plan())
	r.settleAll()
	r.tally(from)
	return nil
}

// plan returns the schedule of a run with a fixed rate and duration.
func (r *run) plan() schedule {
	total := r.settings.Rate * time.Duration(r.settings.Duration).Seconds()
	return schedule{rate: r.settings.Rate, pairs: r.settings.Pairs, total: max(1, int(total))}
}

// pace makes the pairs send by a schedule.
func (r *run) pace(ctx context.Context, s schedule) {
	ends, cancel := ctx, context.CancelFunc(func() {})
	if s.total > 0 {
		ends, cancel = context.WithTimeout(ctx, s.due(s.total))
	}
	defer cancel()
	r.bounded(ends, time.Duration(r.settings.Timeout), func() {
		start := r.now()
		s.follow(ctx, waitUntil, func(pair int, due time.Duration) { r.sessions[pair].send(start + due) })
	})
}
