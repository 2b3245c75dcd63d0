package daemon

import "time"

// napLimit is how long the machine must have slept for its connections to be in doubt.
const napLimit = 10 * time.Second

// moment is a time by two clocks: one that a user reads, and one that stands still while
// the machine sleeps.
type moment struct {
	wall time.Time     // without a monotonic reading
	up   time.Duration // since the daemon began
}

// sleptSince returns how long the machine has slept since an earlier moment. Somebody may
// have set the clock instead: what follows of it does no harm then.
func (m moment) sleptSince(before moment) time.Duration {
	return m.wall.Sub(before.wall) - (m.up - before.up)
}

// now reads both clocks.
func (d *daemon) now() moment {
	return moment{d.o.wall().Round(0), time.Since(d.started)}
}

// lookForSleep has all connections find out whether they live when the machine has slept
// since the last look: their brokers may have given them up long ago, and timers, which
// slept too, would take more than a minute to see it.
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
