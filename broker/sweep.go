package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/storage"
)

const (
	// tick is how often leases, statuses and pings are checked.
	tick = time.Second
	// storeSweep is how often the storage is swept.
	storeSweep = 10 * time.Second
	// sweepLimit bounds the rows of one step, so that it never delays a commit for long.
	sweepLimit = 500
	// sweepTimeout bounds one step: a connection to the storage may have gone silent.
	sweepTimeout = 30 * time.Second
	// receiptRetention is how long message_status knows a message beyond MessageRetention.
	receiptRetention = 24 * time.Hour
	// presenceRetention is how long an ended presence is stored.
	presenceRetention = 30 * 24 * time.Hour
	// recheckEvery is how often each room drops the session keys that the storage has deleted.
	recheckEvery = time.Hour
)

// sweepLoop does what is due by time alone, until ctx ends.
func (b *Broker) sweepLoop(ctx context.Context) {
	b.wait.Go(func() { b.storeSweepLoop(ctx) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var arriving storm
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C: // its own value says when it was due, which may be long ago
			b.sweep(time.Now())
			if arriving.isOver(b.stats.arrivals()) {
				giveMemoryBack()
			}
		}
	}
}

func (b *Broker) sweep(now time.Time) {
	s := b.Settings()
	if b.sweepClaim() {
		for _, r := range b.allRooms() {
			r.sweep(now, s)
		}
		b.queue.ExpireLeases()
	}
	b.hooks.forget(now)
	b.members.forget(now)
	b.pingDue(now, s)
	b.sweepTracing()
	if err := b.journal.Down(); storage.IsLost(err) {
		b.lose(err)
	}
}

func (r *room) sweep(now time.Time, s Settings) {
	r.rates.forget(now)
	r.copies.forget(now)
	r.mu.Lock()
	defer r.unlock()
	for _, p := range r.presences.ExpireLeases(now) {
		r.departedLocked(p)
		r.resettleLocked(p)
	}
	for _, p := range r.presences.SweepStatus(now, s.StatusTTL) {
		r.regateLocked(p)
	}
	r.announceChangesLocked()
	r.saveLocked()
}

// pingDue pings the connections whose turn it is, and cuts dead ones. Each connection has its own
// moment within the interval, by the time at which it was made; it is pinged by the first call
// after that. When the broker has been standing still, its peers have had no chance to answer.
func (b *Broker) pingDue(now time.Time, s Settings) {
	since := tick
	if !b.swept.IsZero() {
		since = now.Sub(b.swept)
	}
	b.swept = now
	late := max(0, since-tick)
	b.mu.Lock()
	var due, dead []*conn
	for c := range b.conns {
		if c.out.socket.silence() >= s.PongTimeout+late {
			dead = append(dead, c)
		} else if age := now.Sub(c.born); age >= s.PingInterval && age%s.PingInterval < since {
			due = append(due, c)
		}
	}
	b.mu.Unlock()
	for _, c := range dead {
		c.kill()
	}
	for _, c := range due {
		c.out.ping()
	}
}

// storeSweepLoop expires messages and deletes finished ones, a few at a time.
func (b *Broker) storeSweepLoop(ctx context.Context) {
	ticker := time.NewTicker(storeSweep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		b.sweepOnce(ctx, time.Now())
	}
}

// sweepOnce does each part of a sweep, whatever becomes of the others.
func (b *Broker) sweepOnce(ctx context.Context, now time.Time) {
	uncounted := b.measure(ctx)
	leaving, unswept, unchecked := b.leaveMeshes(ctx, now), b.sweepStore(ctx), b.recheckSessions(ctx, now)
	if ctx.Err() != nil {
		return
	}
	err := errors.Join(leaving, unswept, unchecked)
	if err != nil {
		b.storageFailed("sweep", err)
	}
	b.logSweep(cmp.Or(uncounted, leaving, unswept, unchecked))
	if storage.IsLost(err) {
		b.lose(err)
	}
}

// logSweep logs the first failure in a row. It logs nothing about an outage of the storage, of which
// the journal or the lease tells. A sweep without a count does not show that a count works again.
func (b *Broker) logSweep(err error) {
	switch failing := b.unswept; {
	case err == nil && failing && !b.depth.failed:
		b.unswept = false
		b.log.Info("the storage can be swept again")
	case err != nil && !failing && !b.isSuspended() && b.journal.Down() == nil:
		b.unswept = true
		b.log.Warn("sweeping the storage failed; the broker tries again", zap.Error(err))
	}
}

// leaveMeshes drops the meshes that nobody uses. A node of a cluster gives them up, too.
func (b *Broker) leaveMeshes(ctx context.Context, now time.Time) error {
	if b.cluster == nil {
		b.forgetMeshes(now)
		return nil
	}
	if b.isSuspended() {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := errors.Join(b.releaseIdle(short, now), b.takeNeglected(short, now)); err != nil {
		return fmt.Errorf("give up idle meshes or take neglected ones: %w", err)
	}
	return nil
}

func (b *Broker) sweepStore(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := b.storage.ForgetHellos(short, time.Now().Add(-helloMemory)); err != nil {
		return err
	}
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = b.sweepStep(ctx); err != nil {
			return err
		}
	}
	return nil
}

// recheckSessions makes the rooms forget the sessions that the storage has forgotten.
func (b *Broker) recheckSessions(ctx context.Context, now time.Time) error {
	for _, r := range b.allRooms() {
		if now.Sub(r.rechecked) < recheckEvery {
			continue
		}
		r.rechecked = now
		if err := r.recheckSessions(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *room) recheckSessions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	r.mu.Lock()
	r.presences.BeginRecheck()
	r.mu.Unlock()
	stored, err := r.broker.storage.KnownSessions(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read the known sessions of mesh %s: %w", r.id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.presences.EndRecheck(stored)
	return nil
}

// sweepStep does one step, and reports whether there may be more to do.
func (b *Broker) sweepStep(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	now := time.Now()
	expire := now.Add(-b.Settings().MessageRetention)
	n, err := b.storage.Sweep(ctx, expire, expire.Add(-receiptRetention), now, sweepLimit)
	if err != nil {
		return false, err
	}
	pruned, err := b.storage.PrunePresences(ctx, now.Add(-presenceRetention), sweepLimit)
	return n > 0 || pruned > 0, err
}
