package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer"
)

// setupParallel is the number of sessions that connect at the same time before a run.
const setupParallel = 64

// holdReads is the number of seconds between two readings of an idle broker's memory. Each
// answer makes garbage, which would count as memory of the sessions.
const holdReads = 15

// run is a run in progress.
type run struct {
	*load
	ctx    context.Context // the caller's: its end stops the sending
	watch  watch
	result *Result
	// afterwards is called after all sessions have left.
	afterwards func()

	// holding is set while an Idle run holds its sessions.
	holding atomic.Bool

	mu    sync.Mutex
	phase string
	since time.Time // when the phase began
}

// kinds maps a kind to the method that runs it.
var kinds = map[Kind]func(*run) error{
	Throughput: (*run).throughput, Rate: (*run).rate, Burst: (*run).burst, Fanout: (*run).fanout,
	Idle: (*run).idle, Storm: (*run).storm, Soak: (*run).soak,
}

// Run puts load on a broker and returns the result. If ctx ends while messages are sent, Run
// stops sending and returns the result of an interrupted run; if ctx ends earlier, Run fails.
// Its errors are a *SettingError, or the errors of peer.Dial if a session can't connect.
func Run(ctx context.Context, k Kind, c Config, s Settings) (*Result, error) {
	do := kinds[k]
	if do == nil {
		return nil, fmt.Errorf("unknown kind of benchmark: %q", k)
	}
	if err := s.Validate(k); err != nil {
		return nil, err
	}
	r := &run{load: newLoad(ctx, c, s), ctx: ctx, watch: watch{gauge: c.Broker}, afterwards: func() {}}
	r.result = &Result{
		Schema: schema, Name: k, StartedAt: time.Now().UTC().Truncate(time.Second), Settings: s, Results: []Figure{}, Times: []Times{},
		Machine: Machine{
			Cores: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(),
			Broker: c.Mesh.BrokerURL,
		},
	}
	if health, _, err := (peer.HTTP{BrokerURL: c.Mesh.BrokerURL, Client: c.HTTPClient}).Health(ctx); err == nil {
		r.result.Machine.BrokerVersion = health.Version
	}
	r.enter("connecting")
	_, _ = r.watch.read(ctx) // for the progress; a failure shows where a figure needs the reading
	stop := r.report()
	err := do(r)
	r.enter("leaving")
	r.close()
	r.afterwards()
	stop()
	if err != nil {
		return nil, err
	}
	r.result.Interrupted = ctx.Err() != nil
	r.result.Notes = append(r.result.Notes, r.troubles.explained()...)
	return r.result, nil
}

// enter starts a phase of the run.
func (r *run) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.since = phase, time.Now()
}

// report reports the progress every second until stop is called.
func (r *run) report() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	var task sync.WaitGroup
	task.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		before, delivered, at := r.push.Snapshot(), uint64(0), time.Now()
		ticks := 0
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if ticks++; !r.holding.Load() || ticks%holdReads == 0 {
				_, _ = r.watch.read(ctx) // the next one may succeed
			}
			if r.config.OnProgress == nil {
				continue
			}
			now, snapshot := time.Now(), r.push.Snapshot()
			p := r.progress(snapshot.Since(before))
			p.Rate = float64(p.Delivered-delivered) / now.Sub(at).Seconds()
			before, delivered, at = snapshot, p.Delivered, now
			r.config.OnProgress(p)
		}
	})
	return func() {
		cancel()
		task.Wait()
	}
}

func (r *run) progress(recent *snapshot) Progress {
	r.mu.Lock()
	phase, since := r.phase, r.since
	r.mu.Unlock()
	last, _ := r.watch.now()
	return Progress{
		Phase: phase, Elapsed: time.Since(since), Sessions: int(r.online.Load()),
		Sent: r.sent.Load(), Delivered: r.delivered.Load(), Refused: r.refused.Load(),
		P50: recent.Quantile(.5), P99: recent.Quantile(.99), Memory: last.Resident,
	}
}

// connectAll connects the sessions of a run that sends messages.
func (r *run) connectAll() error {
	if err := r.connect(r.ctx, setupParallel); err != nil {
		return err
	}
	r.check()
	return nil
}

// check reads the gauge while all sessions are connected. A gauge that counts fewer connections
// can't belong to the broker.
func (r *run) check() {
	reading, err := r.watch.read(r.ctx)
	if err == nil && reading.Counts && reading.Connections < int64(len(r.sessions)) {
		r.watch.distrust()
		r.result.note("the metrics belong to another broker: they count fewer connections than this run has")
	}
}

// sums holds the readings at the start of a phase that sends messages.
type sums struct {
	start   time.Duration // since the load began
	cpu     time.Duration
	reading Reading
	known   bool // whether there is a reading
}

// begin starts a phase that sends messages.
func (r *run) begin(phase string) sums {
	r.enter(phase)
	reading, err := r.watch.read(r.over)
	return sums{r.now(), system.CPUTime(), reading, err == nil}
}

// interruptedDrain is how long an interrupted run waits for messages in flight.
const interruptedDrain = 5 * time.Second

// settleAll waits for the messages in flight.
func (r *run) settleAll() {
	r.enter("waiting for the last")
	ctx, cancel := context.WithTimeout(r.over, time.Duration(r.settings.Timeout))
	defer cancel()
	r.tasks.Go(func() { // ends with ctx
		select {
		case <-r.ctx.Done():
			if pause(ctx, interruptedDrain) {
				cancel()
			}
		case <-ctx.Done():
		}
	})
	r.drain(ctx)
}

// bounded calls send, which must return when ctx ends. If send doesn't return within grace
// after that, the broker has stopped reading and blocks it, and bounded cuts the connections.
func (r *run) bounded(ctx context.Context, grace time.Duration, send func()) {
	done, finished := context.WithCancel(r.over)
	defer finished()
	r.tasks.Go(func() {
		select {
		case <-ctx.Done():
		case <-done.Done():
			return
		}
		if pause(done, grace) {
			r.troubles.note("the broker stopped reading messages; ", "the connections were cut")
			r.cut()
		}
	})
	send()
}

// tally adds the figures of all runs that send messages.
func (r *run) tally(from sums) {
	elapsed := (r.now() - from.start).Seconds()
	cpu := system.CPUTime() - from.cpu
	now, err := r.watch.read(r.over)
	res := r.result
	last := (time.Duration(r.lastArrival.Load()) - from.start).Seconds()
	if delivered := r.delivered.Load(); delivered > 0 && last > 0 {
		res.add("messages_per_second", float64(delivered)/last, "1/s", higher)
	} else {
		res.add("messages_per_second", 0, "1/s", higher)
	}
	r.ledgerFigures()
	if n := now.Accepted - from.reading.Accepted; err == nil && from.known && n > 0 {
		res.add("commits_per_message", (now.Commits-from.reading.Commits)/n, "", lower)
	}
	_, peak := r.watch.now()
	res.addIf(peak > 0, "broker_memory_peak", float64(peak), "B", lower)
	res.add("load_cpu", cpu.Seconds()/elapsed*100, "%", lower)
	res.addTimes("send_push", r.push.Snapshot())
	res.addTimes("send_ack", r.ack.Snapshot())
	res.addTimes("sent_late", r.late.Snapshot())
	if late := r.late.Snapshot(); res.Name != Storm && late.Quantile(.99) > 5*time.Millisecond {
		res.note("1 %% of the messages were sent more than %.1f ms late: either this machine or the broker can't keep up with this rate", ms(late.Quantile(.99)))
	}
}

// ledgerFigures adds the numbers of sent, delivered, lost and other messages.
func (r *run) ledgerFigures() {
	var lost, unanswered uint64
	for _, s := range r.sessions {
		lost += s.ledger.lost()
		unanswered += uint64(len(s.ledger.unanswered()))
	}
	for _, f := range []struct {
		name   string
		value  uint64
		better Better
	}{
		{"sent", r.sent.Load(), ""},
		{"acknowledged", r.acked.Load(), ""},
		{"delivered", r.delivered.Load(), ""},
		{"refused", r.refused.Load(), lower},
		{figureLost, lost, lower},
		{figureDuplicated, r.duplicated.Load(), lower},
		{figureMisordered, r.misordered.Load(), lower},
		{figureMisled, r.misled.Load(), lower},
		{figureSpoiled, r.spoiled.Load(), lower},
		{figureUnanswered, unanswered, lower},
		{"redelivered", r.redelivered.Load(), lower},
		{"disconnects", r.disconnects.Load(), lower},
		{"failed_reconnects", r.failedConnects.Load(), lower},
	} {
		r.result.add(f.name, float64(f.value), "", f.better)
	}
}
