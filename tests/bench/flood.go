package main

import (
	"time"

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
	end := l.meanwhile(s, guest, flood...)
	const rising = 20_000 // messages; by then, the broker's buffer before the storage is full
	until(s, "the flood has risen", time.Minute, func() bool { return site.progress(s).accepted > short(l, rising, rising/10.0) })
	r := site.bench(s, pair...)
	flooded := end() // before the pair's figures: without a flood, they mean nothing
	l.times(r, "send_push", series("flood/push", db))
	l.accounts(r, series("flood", db))
	l.figure(flooded, "messages_per_second", series("flood/rate", db))
}
