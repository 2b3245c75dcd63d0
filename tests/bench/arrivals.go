package main

import (
	"context"
	"strconv"
	"strings"
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
	const held = 2 * time.Second // long enough to be seen
	r, err := bench.Run(s.ctx, bench.Idle, bench.Config{Mesh: site.mesh, OnProgress: func(p bench.Progress) {
		if p.Phase != "connecting" {
			stop() // all are there: what follows is not their coming
		}
	}}, bench.Settings{Sessions: n, Parallel: 64, Duration: bench.Duration(held)})
	s.check("connect the sessions", err)
	stop()
	_ = others.Wait() // it says that it was interrupted, as it was
	latency, err := bench.Read(strings.NewReader(stdout.String()))
	if err != nil {
		s.Fatalf("the load of others: %v: %s", err, strings.TrimSpace(stderr.String()))
	}
	if failed := latency.Failed(); len(failed) > 0 {
		s.Errorf("of the messages of others: %v", failed)
	}
	l.figure(r, "connects_per_second", series("arrivals", db))
	l.times(latency, "send_push", series("arrivals/push", db))
	l.accounts(latency, series("arrivals", db))
}
