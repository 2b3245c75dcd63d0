package main

import (
	"context"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// flood measures the latency of a pair that sends few messages while another member of its mesh
// sends as fast as the broker accepts and resends refused messages at once.
func (l *lab) flood(s *stage) {
	flood := []string{"throughput", "--pairs", "50", "--window", "256", "--on-refusal", "resend"}
	pair := []string{"rate", "--pairs", "1", "--rate", "10", "--duration", short(l, 10*time.Second, 2*time.Second).String()}
	l.typed("flood", shown(flood...)+" & "+shown(pair...))
	for _, db := range databases {
		l.trouble("flood", perform(s.ctx, func(s *stage) { l.beside(s, db, flood, pair) }))
	}
}

// beside runs the pair of the mesh's owner during the flood of a guest.
func (l *lab) beside(s *stage, db string, flood, pair []string) {
	site := l.broker(s, db)
	guest := harness.ShortTempDir(s)
	site.join(s, guest, site.invite(s, 1), "flood")
	meanwhile, stop := context.WithCancel(s.ctx)
	defer stop()
	load := claudemesh(meanwhile, l.commands, guest, benchArgs(flood, "--duration", "1h")...)
	var stdout, stderr strings.Builder
	load.Stdout, load.Stderr = &stdout, &stderr
	s.check("start the flood", load.Start())
	const rising = 20_000 // messages; by then, the broker's buffer before the storage is full
	until(s, "the flood has risen", time.Minute, func() bool { return site.progress(s).accepted > short(l, rising, rising/10.0) })
	r := site.bench(s, pair...)
	stop()
	_ = load.Wait() // its error says only that it was interrupted
	l.times(r, "send_push", series("flood/push", db))
	l.accounts(r, series("flood", db))
	flooded, err := bench.Read(strings.NewReader(stdout.String()))
	if err != nil {
		s.Fatalf("the flood: %v: %s", err, strings.TrimSpace(stderr.String()))
	}
	l.figure(flooded, "messages_per_second", series("flood/rate", db))
	if failed := flooded.Failed(); len(failed) > 0 {
		s.Errorf("of the messages of the flood: %v", failed)
	}
}
