package bench

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestQuantiles(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for name, next := range map[string]func() time.Duration{
		"few values":       func() time.Duration { return time.Duration(random.IntN(3)) },
		"microseconds":     func() time.Duration { return time.Duration(random.IntN(1_000_000)) },
		"seconds":          func() time.Duration { return time.Duration(random.ExpFloat64() * float64(time.Second)) },
		"all the same":     func() time.Duration { return 12_345_678 },
		"over many orders": func() time.Duration { return time.Duration(1) << random.IntN(42) },
	} {
		var h histogram
		var exact []time.Duration
		for range 10_000 {
			d := next()
			exact = append(exact, d)
			h.Record(d)
		}
		slices.Sort(exact)
		s := h.Snapshot()
		if s.Count() != 10_000 || s.Max() != exact[len(exact)-1] {
			t.Errorf("%s: %d values up to %v, want up to %v", name, s.Count(), s.Max(), exact[len(exact)-1])
		}
		for _, q := range []float64{0, .5, .95, .99, .999, 1} {
			want := exact[max(int(q*10_000), 1)-1]
			if got := s.Quantile(q); got < want || float64(got) > float64(want)*1.008+1 {
				t.Errorf("%s: quantile %v is %v, want %v", name, q, got, want)
			}
		}
	}
}

func TestHistogramLimits(t *testing.T) {
	t.Parallel()
	var h histogram
	if s := h.Snapshot(); s.Count() != 0 || s.Quantile(.5) != 0 || s.Max() != 0 {
		t.Errorf("an empty histogram: got %+v, want zeros", s)
	}
	h.Record(-time.Second)
	if got := h.Snapshot().Quantile(1); got != 0 {
		t.Errorf("a duration below 0: got %v, want 0", got)
	}
	h.Record(1000 * time.Hour)
	if got := h.Snapshot().Quantile(1); got != longest {
		t.Errorf("a duration beyond the longest: got %v, want %v", got, longest)
	}
	for i := range buckets {
		if bucketOf(top(i)) != i || i > 0 && bucketOf(top(i-1)+1) != i {
			t.Fatalf("bucket %d ends at %v, which is in %d", i, top(i), bucketOf(top(i)))
		}
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	var h histogram
	h.Record(time.Hour)
	before := h.Snapshot()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 100 {
				h.Record(time.Millisecond)
			}
		})
	}
	all.Wait()
	d := h.Snapshot().Since(before)
	if d.Count() != 1000 || d.Max() > 1009*time.Microsecond || d.Quantile(.5) < time.Millisecond || d.Quantile(1) > 1009*time.Microsecond {
		t.Errorf("%d values, p50 %v, up to %v", d.Count(), d.Quantile(.5), d.Max())
	}
}
