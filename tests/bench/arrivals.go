package main

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/bench"
)

// arrivals measures how fast thousands of sessions come to one mesh, and the latency of
// a few others in it meanwhile.
func (l *lab) arrivals(s *stage) {
	n := short(l, 10_000, 1000)
	rate := []string{"rate", "--pairs", "10", "--rate", "200"}
	l.typed("arrivals", shown("idle", "--sessions", strconv.Itoa(n))+" & "+shown(rate...))
	for _, db := range databases {
		l.trouble("arrivals", perform(s.ctx, func(s *stage) { l.arrive(s, db, n, rate) }))
	}
}

func (l *lab) arrive(s *stage, db string, n int, rate []string) {
	site := l.broker(s, db)
	meanwhile, stop := context.WithCancel(s.ctx)
	defer stop()
	others := site.command(meanwhile, benchArgs(rate, "--duration", "1h", "--metrics", site.admin+"/metrics")...)
	var stdout, stderr strings.Builder
	others.Stdout, others.Stderr = &stdout, &stderr
	s.check("start the load of others", others.Start())
	before := site.progress(s)
	until(s, "messages flow", time.Minute, func() bool { return site.progress(s).accepted > before.accepted+200 })
	team := site.team(s, n)
	held, end := context.WithCancel(s.ctx)
	start := time.Now()
	var coming sync.WaitGroup
	failed := make(chan error, len(team))
	for i := range team {
		settings := bench.Settings{Sessions: n / len(team), Parallel: 64 / len(team), Duration: bench.Duration(time.Hour)}
		coming.Go(func() {
			if _, err := bench.Run(held, bench.Idle, bench.Config{Mesh: team[i]}, settings); err != nil && held.Err() == nil {
				failed <- err
			}
		})
	}
	s.Cleanup(func() {
		end()
		site.Kill() // it need not tell each of the leave of others
		coming.Wait()
	})
	due := float64(n/len(team)*len(team) + 2*10) // with those of the others
	site.awaitPresences(s, due, failed)
	l.add(series("arrivals", db), float64(n)/time.Since(start).Seconds())
	stop()
	_ = others.Wait() // it says that it was interrupted, as it was
	latency, err := bench.Read(strings.NewReader(stdout.String()))
	if err != nil {
		s.Fatalf("the load of others: %v: %s", err, strings.TrimSpace(stderr.String()))
	}
	if failed := latency.Failed(); len(failed) > 0 {
		s.Errorf("of the messages of others: %v", failed)
	}
	l.times(latency, "send_push", series("arrivals/push", db))
	l.accounts(latency, series("arrivals", db))
}

// awaitPresences waits until so many are in a broker's meshes, or somebody has failed to
// connect.
func (x *site) awaitPresences(s *stage, due float64, failed <-chan error) {
	tick := time.NewTicker(200 * time.Millisecond) // asking costs the broker something
	defer tick.Stop()
	for come := 0.0; come < due; {
		select {
		case <-tick.C:
		case err := <-failed:
			s.Fatalf("connect the sessions: %v", err)
		case <-s.ctx.Done():
			s.Fatal(s.ctx.Err())
		}
		if v, err := metrics(s.ctx, x.admin, "caddy_claudemesh_presences"); err == nil {
			come = v[0]
		}
	}
}
