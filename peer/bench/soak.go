package bench

import (
	"slices"
	"time"
)

// soak sends at a fixed rate for a long time and looks for drift.
func (r *run) soak() error {
	n := r.settings.Pairs
	if err := r.makePairs(n, 2*n); err != nil {
		return err
	}
	if err := r.connectAll(); err != nil {
		return err
	}
	from := r.begin("sending")
	stop := make(chan struct{})
	intervals := make(chan []Interval, 1)
	r.tasks.Go(func() { intervals <- r.intervals(stop) })
	r.pace(r.ctx, r.plan())
	r.settleAll()
	close(stop)
	r.result.Intervals = <-intervals
	r.tally(from)
	r.result.drift()
	return nil
}

// intervals records an Interval at a time until stop is closed.
func (r *run) intervals(stop <-chan struct{}) []Interval {
	every := time.Duration(r.settings.Interval)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var list []Interval
	start, at := r.now(), r.now()
	before, delivered := r.push.Snapshot(), r.delivered.Load()
	for stopped := false; ; {
		select {
		case <-stop:
			if r.now()-at < every/2 {
				return list // the last interval is too short to count
			}
			stopped = true
		case <-tick.C:
		}
		reading, _ := r.watch.read(r.over) // 0 if it fails
		now, snapshot, count := r.now(), r.push.Snapshot(), r.delivered.Load()
		recent := snapshot.Since(before)
		i := Interval{
			At: seconds(now - start), Rate: float64(count-delivered) / (now - at).Seconds(),
			P50: ms(recent.Quantile(.5)), P99: ms(recent.Quantile(.99)), Memory: reading.Resident,
		}
		at, before, delivered = now, snapshot, count
		list = append(list, i)
		if r.config.OnInterval != nil {
			r.config.OnInterval(i)
		}
		if stopped {
			return list
		}
	}
}

// seconds converts a duration to seconds, rounded down to a millisecond.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// drift compares the medians of the first and the last quarter of the intervals.
func (r *Result) drift() {
	quarter := max(1, len(r.Intervals)/4)
	if len(r.Intervals) < 2 {
		r.note("no drift is shown, because that needs at least two intervals")
		return
	}
	first, last := r.Intervals[:quarter], r.Intervals[len(r.Intervals)-quarter:]
	for _, f := range []struct {
		name  string
		value func(*Interval) float64
	}{
		{"send_push_p50_drift", func(i *Interval) float64 { return i.P50 }},
		{"send_push_p99_drift", func(i *Interval) float64 { return i.P99 }},
		{"broker_memory_drift", func(i *Interval) float64 { return float64(i.Memory) }},
	} {
		before, after := median(first, f.value), median(last, f.value)
		r.addIf(before > 0 && after > 0, f.name, (after/before-1)*100, "%", lower)
	}
}

// median returns the middle value, or the lower of two.
func median(list []Interval, value func(*Interval) float64) float64 {
	var values []float64
	for i := range list {
		values = append(values, value(&list[i]))
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}
