package main

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/bench"
)

// arrivals measures how fast thousands of sessions can join one mesh, and the latency of a few
// other sessions in the mesh meanwhile.
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
		site.Kill() // so that it doesn't tell every session that the others leave
		coming.Wait()
	})
	due := float64(n/len(team)*len(team) + 2*10) // including the other pairs
	site.awaitPresences(s, due, failed)
	l.add(series("arrivals", db), float64(n)/time.Since(start).Seconds())
	stop()
	_ = others.Wait() // its error says only that it was interrupted
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

// awaitPresences waits until the broker has due presences, or until a session fails to connect.
func (x *site) awaitPresences(s *stage, due float64, failed <-chan error) {
	tick := time.NewTicker(200 * time.Millisecond) // each request costs the broker time
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
