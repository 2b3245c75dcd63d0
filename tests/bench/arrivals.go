package main

import (
	"context"
	"strconv"
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
	team := site.team(s, n) // before the others send: their latency counts only during the arrivals
	before := site.progress(s)
	end := l.meanwhile(s, site.home, rate...)
	until(s, "messages flow", time.Minute, func() bool { return site.progress(s).accepted > before.accepted })
	held, leave := context.WithCancel(s.ctx)
	start := time.Now()
	var coming sync.WaitGroup
	failed := make(chan error, len(team))
	for i := range team {
		settings := bench.Settings{Sessions: share(n, len(team), i), Parallel: 64 / len(team), Duration: bench.Duration(time.Hour)}
		coming.Go(func() {
			if _, err := bench.Run(held, bench.Idle, bench.Config{Mesh: team[i]}, settings); err != nil && held.Err() == nil {
				failed <- err
			}
		})
	}
	s.Cleanup(func() {
		leave()
		site.Kill() // so that it doesn't tell every session that the others leave
		coming.Wait()
	})
	site.awaitPresences(s, float64(n+2*10), failed) // including the other pairs
	l.add(series("arrivals", db), float64(n)/time.Since(start).Seconds())
	others := end()
	l.times(others, "send_push", series("arrivals/push", db))
	l.accounts(others, series("arrivals", db))
}

// awaitPresences waits until the broker has due presences, or until a session fails to connect.
func (x *site) awaitPresences(s *stage, due float64, failed <-chan error) {
	deadline := time.NewTimer(holdPatience)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond) // each request costs the broker time
	defer tick.Stop()
	for come := 0.0; come < due; {
		select {
		case <-tick.C:
		case err := <-failed:
			s.Fatalf("connect the sessions: %v", err)
		case <-deadline.C:
			s.Fatalf("timed out waiting for %.0f presences: %.0f have come", due, come)
		case <-s.ctx.Done():
			s.Fatal(s.ctx.Err())
		}
		if v, err := metrics(s.ctx, x.admin, "caddy_claudemesh_presences"); err == nil {
			come = v[0]
		}
	}
}
