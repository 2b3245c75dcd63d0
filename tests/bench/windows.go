package main

import (
	"strconv"
	"time"
)

// windows lists the numbers of messages that a pair has in flight.
var windows = []int{4, 32, 256}

// refusals measures clients that resend at once. The broker should refuse none of their messages,
// whatever the window, so they should reach the same throughput as clients that pause.
func (l *lab) refusals(s *stage) {
	run := func(window int, policy string) []string {
		return []string{"throughput", "--pairs", "50", "--window", strconv.Itoa(window), "--on-refusal", policy,
			"--duration", short(l, 3*time.Second, time.Second).String()}
	}
	for _, w := range windows {
		l.typed("refusals", shown(run(w, "resend")...))
	}
	for _, db := range databases {
		l.trouble("refusals", perform(s.ctx, func(s *stage) {
			site := l.broker(s, db)
			delivered := map[string]float64{}
			measure := func(window int, policy string) {
				r := site.bench(s, run(window, policy)...)
				rate, _ := r.Value("messages_per_second")
				if policy == "resend" {
					l.figure(r, "refused", series("refusals", window, db))
				}
				if window == 32 {
					delivered[policy] += rate
				}
				site.drain(s)
			}
			for _, w := range windows {
				measure(w, "resend")
				if w == 32 { // alternate, since a database slows down as it grows
					measure(w, "pause")
					measure(w, "pause")
					measure(w, "resend")
				}
			}
			if delivered["pause"] == 0 {
				s.Fatal("nothing was delivered")
			}
			l.add(series("refusals/ratio", db), delivered["resend"]/delivered["pause"])
		}))
	}
}
