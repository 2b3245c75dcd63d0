package daemon

import "time"

// napLimit is how long the machine must have slept before the daemon checks its connections.
const napLimit = 10 * time.Second

// moment is a time by two clocks: the wall clock, and one that stands still while the machine
// sleeps.
type moment struct {
	wall time.Time     // without a monotonic reading
	up   time.Duration // since the daemon started
}

// sleptSince returns how long the machine has slept since an earlier moment. If somebody has
// set the wall clock instead, the result is wrong, which only causes a needless check.
func (m moment) sleptSince(before moment) time.Duration {
	return m.wall.Sub(before.wall) - (m.up - before.up)
}

// now reads both clocks.
func (d *daemon) now() moment {
	return moment{d.o.wall().Round(0), time.Since(d.started)}
}

// lookForSleep makes all connections check that they are alive if the machine has slept since
// the last call. Their brokers may have dropped them long ago. Timers sleep along with the
// machine and would notice only after more than a minute.
func (d *daemon) lookForSleep() {
	now := d.now()
	slept := now.sleptSince(d.looked)
	d.looked = now
	if slept < napLimit {
		return
	}
	d.mu.Lock()
	lines := make([]*line, 0, len(d.lines))
	for _, l := range d.lines {
		lines = append(lines, l)
	}
	d.mu.Unlock()
	d.log.Info("the machine has slept; checking all connections", "slept", slept.Round(time.Second), "connections", len(lines))
	for _, l := range lines {
		if client := l.current(); client != nil {
			client.Probe()
		}
	}
}
