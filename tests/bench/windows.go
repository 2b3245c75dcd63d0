package main

import (
	"strconv"
	"time"
)

// windows are how many messages of a pair are under way at once.
var windows = []int{4, 32, 256}

// refusals measures what becomes of clients that resend at once: none should be refused,
// whatever their window, so that as much goes through as of clients that pause.
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
				refused, _ := r.Value("refused")
				rate, _ := r.Value("messages_per_second")
				if policy == "resend" {
					l.add(series("refusals", window, db), refused)
				}
				if window == 32 {
					delivered[policy] += rate
				}
				site.drain(s)
			}
			for _, w := range windows {
				measure(w, "resend")
				if w == 32 { // in turns, since a database slows down as it grows
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
