package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
)

// idle connects idle sessions and measures what they cost the broker.
func (r *run) idle() error {
	n := r.settings.Sessions
	if err := r.add(n, &r.config.Mesh); err != nil {
		return err
	}
	r.collect()
	r.watch.rebase()
	first, firstErr := r.watch.read(r.ctx)
	start, cpu := time.Now(), system.CPUTime()
	if err := r.connect(r.ctx, r.settings.Parallel); err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	cpu = system.CPUTime() - cpu
	r.check()
	r.enter("holding")
	r.holding.Store(true)
	hold := time.Now()
	pause(r.ctx, time.Duration(r.settings.Duration))
	r.collect()
	held := time.Since(hold).Round(time.Second)
	last, lastErr := r.watch.read(r.over)
	_, peak := r.watch.now()
	res := r.result
	if err := cmp.Or(firstErr, lastErr); err != nil {
		first, last = Reading{}, Reading{} // one reading says nothing
		if !errors.Is(err, errNoGauge) {
			res.note("the memory per session is unknown: %v", err)
		}
	}
	r.tellFresh(&first, held)
	res.add("sessions", float64(r.online.Load()), "", "")
	res.add("seconds", seconds, "s", lower)
	res.add("connects_per_second", float64(n)/seconds, "1/s", higher)
	for _, m := range []struct {
		name          string
		before, after int64
	}{
		{"broker_memory_per_session", first.Resident, last.Resident},
		{"broker_in_use_per_session", first.InUse, last.InUse},
	} {
		known := m.before > 0 && m.after > 0
		res.addIf(known, m.name, float64(m.after-m.before)/float64(n)/1024, "kB", lower)
	}
	res.addIf(peak > 0, "broker_memory_peak", float64(peak), "B", lower)
	res.add("disconnects", float64(r.disconnects.Load()), "", lower)
	res.add("load_cpu", cpu.Seconds()/seconds*100, "%", lower)
	res.addTimes("connect", r.hello.Snapshot())
	return nil
}

// tellFresh notes whether the broker has served sessions before this run. If it has, the new
// sessions can reuse their memory.
func (r *run) tellFresh(first *Reading, held time.Duration) {
	fresh := 0.0
	switch {
	case !first.Counts && first.Resident == 0: // its memory is unknown, too
	case !first.Counts:
		r.result.note("it is unknown whether the broker was fresh, because its metrics were not read. A broker that has served sessions before reuses their memory")
	case first.Joins > 0 || first.Connections > 0:
		r.result.note("the broker was not fresh: it had served %d sessions before and may reuse their memory. Restart it for comparable figures", first.Joins)
	default:
		fresh = 1
		r.result.note("the broker was fresh; its memory was read before the first connection, and %v after the last", held)
	}
	r.result.addIf(first.Counts, "broker_fresh", fresh, "", "")
}

// collect makes the broker collect its garbage, if Config.Collect is set.
func (r *run) collect() {
	if r.config.Collect == nil {
		return
	}
	if err := r.config.Collect(r.over); err != nil { // also after an interrupt
		r.troubles.note("the figures include the broker's garbage: ", err.Error())
	}
}

// calm is how long messages are sent before and after a storm.
const calm = time.Second

// storm drops all connections at once while messages are sent, and waits until all are back.
func (r *run) storm() error {
	if err := r.makePairs(r.settings.Pairs, r.settings.Sessions); err != nil {
		return err
	}
	if err := r.connectAll(); err != nil {
		return err
	}
	from := r.begin("sending")
	var got *comeback
	stopped, stop := context.WithCancel(r.ctx)
	defer stop()
	done := make(chan error, 1)
	r.tasks.Go(func() {
		defer stop()
		var err error
		if pause(r.ctx, calm) {
			got, err = r.dropAll()
			pause(r.ctx, calm)
		}
		done <- err
	})
	r.pace(stopped, schedule{rate: r.settings.Rate, pairs: r.settings.Pairs})
	if err := <-done; err != nil {
		return err
	}
	if got == nil {
		return fmt.Errorf("before the storm: %w", r.ctx.Err())
	}
	r.settleAll()
	res := r.result
	res.add("sessions", float64(len(r.sessions)), "", "")
	res.addIf(got.all, "seconds", got.took.Seconds(), "s", lower)
	res.add("back", float64(len(r.sessions))-float64(max(r.comebacks.Load(), 0)), "", higher)
	r.tally(from)
	res.addTimes("reconnect", got.connects)
	return nil
}

var errNotBack = errors.New("no session reconnected before the timeout")

// comeback is what happens after all connections were cut.
type comeback struct {
	all      bool          // whether all sessions came back before the timeout
	took     time.Duration // until the last was back, or until the timeout
	connects *snapshot
}

// dropAll cuts all connections and waits until all are back, or until the timeout.
func (r *run) dropAll() (*comeback, error) {
	r.enter("reconnecting")
	before := r.hello.Snapshot()
	r.comebacks.Store(int64(len(r.sessions)))
	for _, s := range r.sessions {
		s.dropped.Store(true)
	}
	start := r.now()
	r.droppedAt.Store(int64(start))
	for _, s := range r.sessions {
		r.tasks.Go(func() { _ = s.ws.Load().CloseNow() })
	}
	timeout := time.NewTimer(time.Duration(r.settings.Timeout))
	defer timeout.Stop()
	select {
	case <-r.allBack:
	case <-timeout.C:
	case <-r.ctx.Done():
	}
	took, missing := r.now()-start, r.comebacks.Load()
	r.enter("sending")
	connects := r.hello.Snapshot().Since(before)
	if connects.Count() == 0 {
		return nil, errNotBack
	}
	if missing > 0 {
		r.result.note("%d sessions did not reconnect before the timeout", missing)
	}
	return &comeback{missing == 0, took, connects}, nil
}
