package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/bench"
)

// probe is one measurement, made once per round.
type probe struct {
	name   string
	about  string
	rounds int // maximum number of rounds; 0 for all
	run    func(*lab, *stage)
}

// probes lists the probes in the order of their turns.
var probes = []probe{
	{"throughput", "maximum rate of durable messages, compared with ceilings S and W and JetStream", 0, (*lab).throughput},
	{"refusals", "clients that resend at once, by number of messages in flight", 3, (*lab).refusals},
	{"flood", "latency of a pair during another member's flood", 3, (*lab).flood},
	{"rate", "latency at 200 messages a second, compared with ceiling W", 0, (*lab).rate},
	{"burst", "100 peers × 1,000 messages at once, compared with ceiling W", 3, (*lab).burst},
	{"fanout", "a broadcast to 1,000 peers", 0, (*lab).fanout},
	{"storm", "2,000 sessions reconnect at once, compared with ceiling W", 3, (*lab).storm},
	{"idle", "memory of idle sessions, in one mesh and in many, compared with ceiling W", 2, (*lab).idle},
	{"arrivals", "10,000 sessions join one mesh, and the latency of other sessions meanwhile", 3, (*lab).arrivals},
	{"growth", "latency and memory per session from 100 to 10,000 sessions", 1, (*lab).growth},
	{"cluster", "relayed sockets, compared with those at the owner of their mesh; handover and failover", 1, (*lab).cluster},
	{"hook", "a hook's process, compared with a program that prints a line", 0, (*lab).hook},
	{"queue", "1,000,000 messages waiting for 10,000 absent sessions", 1, (*lab).queued},
}

// figure adds a value of a result to a series, unless the result lacks it.
func (l *lab) figure(r *bench.Result, name, into string) {
	if v, ok := r.Value(name); ok {
		l.add(into, v)
	}
}

// times adds percentiles of a result to series, in ms.
func (l *lab) times(r *bench.Result, name, into string) {
	if t, ok := timesOf(r, name); ok {
		l.add(series(into, "p50"), t.P50)
		l.add(series(into, "p99"), t.P99)
	}
}

// timesOf returns a latency of a result.
func timesOf(r *bench.Result, name string) (bench.Times, bool) {
	i := slices.IndexFunc(r.Times, func(t bench.Times) bool { return t.Name == name })
	if i < 0 {
		return bench.Times{}, false
	}
	return r.Times[i], true
}

// accounts adds the figures that must be 0.
func (l *lab) accounts(r *bench.Result, into string) {
	for _, name := range []string{"lost", "duplicated", "out_of_order", "refused"} {
		l.figure(r, name, series(into, name))
	}
}

// Names of series other than the databases.
const (
	relayed = "W" // ceiling W
	stored  = "S" // ceiling S
)

// throughput measures the same load on both databases and on everything that they are compared
// with, one at a time.
func (l *lab) throughput(s *stage) {
	const pairs, window = 50, 32
	length := short(l, 6*time.Second, 2*time.Second)
	args := []string{"throughput", "--pairs", fmt.Sprint(pairs), "--window", fmt.Sprint(window), "--duration", length.String()}
	l.typed("throughput", shown(args...))
	part := short(l, 3*time.Second, 700*time.Millisecond)

	w := l.throughputOf(s, relayed, args, length)
	jet := 0.0
	for _, layout := range []jetStreams{oneStream, streamPerPair} {
		problems := perform(s.ctx, func(s *stage) {
			rate := jetStreamRate(s, layout, pairs, window, part)
			l.add(series("throughput", layout), rate)
			jet = max(jet, rate)
		})
		l.trouble("throughput", problems)
	}
	for _, db := range databases {
		ceiling := l.ceilingS(s, db, part)
		rate := l.throughputOf(s, db, args, length)
		if rate == 0 || w == 0 || jet == 0 || ceiling == 0 {
			continue // one of them failed and has reported it
		}
		l.add(series("throughput/share", db), 100*rate/min(ceiling, w))
		turns := 1 / (1/ceiling + 1/w)
		l.add(series("throughput/in turn", db), turns)
		l.add(series("throughput/turns", db), 100*rate/turns)
		l.add(series("throughput/jetstream", db), rate/jet)
	}
}

// ceilingS measures both paths and returns the rate of the cheaper one.
func (l *lab) ceilingS(s *stage, db string, length time.Duration) (ceiling float64) {
	for _, p := range []path{pathQueued, pathLive} {
		l.trouble("throughput", perform(s.ctx, func(s *stage) {
			rate := l.storageRate(s, db, p, length)
			l.add(series("throughput", stored, p, db), rate)
			ceiling = max(ceiling, rate)
		}))
	}
	return ceiling
}

// throughputOf measures one broker or the relay and returns messages per second, for a broker
// durable ones; see durable.
func (l *lab) throughputOf(s *stage, of string, args []string, length time.Duration) (rate float64) {
	l.trouble("throughput", perform(s.ctx, func(s *stage) {
		var r *bench.Result
		var used, database time.Duration
		if of == relayed {
			relay := l.relay(s)
			before, shares := relay.cpu(s), profiling(s, relay.admin, length)
			r = relay.bench(s, args...)
			used = relay.cpu(s) - before
			rate, _ = r.Value("messages_per_second")
			l.spent(s, of, r, shares, used, 0)
		} else {
			site := l.broker(s, of)
			counts, _ := site.count(s)
			if of == postgresDB {
				database = l.databaseTime(s)
			}
			before, shares := site.cpu(s), profiling(s, site.admin, length)
			r, rate = l.durable(s, site, of, args)
			used = site.cpu(s) - before
			if of == postgresDB {
				database = l.databaseTime(s) - database
			}
			l.spent(s, of, r, shares, used, database)
			l.counts(s, site, counts, r, of)
			l.accounts(r, series("throughput", of))
		}
		l.add(series("throughput", of), rate)
		l.times(r, "send_push", series("throughput/push", of))
		l.times(r, "send_ack", series("throughput/ack", of))
		l.figure(r, "load_cpu", series("throughput/load", of))
		l.figure(r, "messages_per_second", series("throughput/delivered", of))
	}))
	return rate
}

// durable runs a bench and measures the rate of messages that reach the storage. The command's
// own rate counts deliveries: a message that its recipient has acknowledged is safe, so it may
// not be stored yet when its sender gets the ack. Tens of thousands of such messages may wait
// in memory, and a short run would count them as if they were stored. So the measured time
// ends when the storage has the last message.
func (l *lab) durable(s *stage, site *site, of string, args []string) (r *bench.Result, rate float64) {
	before := site.progress(s)
	began := site.beginning(s, before.accepted)
	r = site.bench(s, args...)
	start := began()
	waiting := site.progress(s)
	after := site.drain(s)
	end := time.Now()
	messages := after.stored - before.stored
	perSecond, _ := r.Value("messages_per_second")
	if messages == 0 || perSecond == 0 {
		s.Fatal("nothing was delivered or stored")
	}
	l.add(series("throughput/waiting", of), waiting.accepted-waiting.stored)
	l.add(series("queries/commits", of), (after.commits-before.commits)/messages)
	if waiting.stored >= waiting.accepted {
		return r, perSecond // the storage kept up with the deliveries
	}
	if start.IsZero() {
		s.Fatal("the first message was not seen")
	}
	return r, messages / end.Sub(start).Seconds()
}

// beginning watches for the first message beyond those already accepted. began ends this and returns
// the time of the message, or the zero time.
func (x *site) beginning(s *stage, accepted float64) (began func() time.Time) {
	ctx, stop := context.WithCancel(s.ctx)
	var task sync.WaitGroup
	var at time.Time
	task.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			now := time.Now() // the answer may take longer than the pause
			v, err := metrics(ctx, x.admin, "caddy_claudemesh_messages_accepted_total")
			if err == nil && v[0] > accepted {
				at = now
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	end := func() {
		stop()
		task.Wait()
	}
	s.Cleanup(end)
	return func() time.Time {
		end()
		return at
	}
}

// rate measures latency at a low rate.
func (l *lab) rate(s *stage) {
	args := []string{"rate", "--pairs", "10", "--rate", "200", "--duration", short(l, 6*time.Second, 3*time.Second).String()}
	l.typed("rate", shown(args...))
	for _, of := range []string{relayed, postgresDB, sqliteDB} {
		l.trouble("rate", perform(s.ctx, func(s *stage) {
			r := l.target(s, of).bench(s, args...)
			l.times(r, "send_push", series("rate/push", of))
			l.times(r, "send_ack", series("rate/ack", of))
			l.accounts(r, series("rate", of))
		}))
	}
}

// target is a server that a bench can run against.
type target interface {
	bench(s *stage, args ...string) *bench.Result
}

// target starts a broker with a database, or the relay.
func (l *lab) target(s *stage, of string) target {
	if of == relayed {
		return l.relay(s)
	}
	return l.broker(s, of)
}

// burst makes all peers send at once.
func (l *lab) burst(s *stage) {
	args := []string{"burst", "--peers", "100", "--messages", short(l, "1000", "100"), "--timeout", short(l, "3m", "1m")}
	l.typed("burst", shown(args...))
	for _, of := range []string{relayed, postgresDB, sqliteDB} {
		l.trouble("burst", perform(s.ctx, func(s *stage) {
			r := l.target(s, of).bench(s, args...)
			l.figure(r, "delivered_share", series("burst/delivered", of))
			l.figure(r, "seconds", series("burst/seconds", of))
			if peak, ok := r.Value("broker_memory_peak"); ok {
				l.add(series("burst/memory", of), peak/(1<<20))
			}
			l.times(r, "send_push", series("burst/push", of))
			l.accounts(r, series("burst", of))
		}))
	}
}

// fanout sends to a group, one message after the other.
func (l *lab) fanout(s *stage) {
	args := []string{"fanout", "--recipients", short(l, "1000", "200"), "--messages", "20"}
	l.typed("fanout", shown(args...))
	for _, db := range databases {
		l.trouble("fanout", perform(s.ctx, func(s *stage) {
			site := l.broker(s, db)
			before, _ := site.count(s)
			r := site.bench(s, args...)
			l.times(r, "first_recipient", series("fanout/first", db))
			l.times(r, "last_recipient", series("fanout/last", db))
			l.accounts(r, series("fanout", db))
			n, _ := r.Value("acknowledged")
			if n == 0 {
				s.Fatal("no broadcast was acknowledged")
			}
			// Not from before the run, which would include the commits for 1,000 hellos.
			l.figure(r, "commits_per_message", series("fanout/commits", db))
			site.drain(s)
			if after, known := site.count(s); known {
				l.add(series("fanout/inserts", db), (after.inserts-before.inserts)/n)
			}
		}))
	}
}

// storm drops all connections at once.
func (l *lab) storm(s *stage) {
	args := []string{"storm", "--sessions", short(l, "2000", "400")}
	l.typed("storm", shown(args...))
	l.trouble("storm", perform(s.ctx, func(s *stage) {
		// The relay loses messages in flight: don't wait for them.
		r, _ := l.relay(s).lossy(s, append(args, "--pairs", "1", "--rate", "1", "--timeout", "5s")...)
		l.cameBack(s, r, relayed)
	}))
	for _, db := range databases {
		l.trouble("storm", perform(s.ctx, func(s *stage) {
			r := l.broker(s, db).bench(s, args...)
			l.cameBack(s, r, db)
			l.accounts(r, series("storm", db))
			l.figure(r, "failed_reconnects", series("storm/errors", db))
			if n, _ := r.Value("failed_reconnects"); n > 0 {
				s.Errorf("reconnects failed: %s", strings.Join(r.Notes, "; "))
			}
		}))
	}
}

// cameBack adds the time until all sessions were back. It is unknown if one of them didn't come back.
func (l *lab) cameBack(s *stage, r *bench.Result, of string) {
	if _, known := r.Value("seconds"); !known {
		s.Errorf("not all sessions came back: %s", strings.Join(r.Notes, "; "))
	}
	l.figure(r, "seconds", series("storm/seconds", of))
}
