package bench

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram has 128 buckets for every doubling, so a quantile is too high by less than 0.8 %.
// Times above longest count as longest.
const (
	stepBits = 7
	steps    = 1 << stepBits
	maxBits  = 43
	buckets  = (maxBits - stepBits + 1) * steps
	longest  = time.Duration(1<<maxBits - 1) // about 2 h 26 min
)

// histogram counts times in a fixed 37 kB. It is safe for concurrent use. The zero value is
// empty.
type histogram struct {
	counts [buckets]atomic.Uint64
	max    atomic.Int64
}

// Record counts a time. A negative time counts as 0.
func (h *histogram) Record(d time.Duration) {
	d = min(max(d, 0), longest)
	h.counts[bucketOf(d)].Add(1)
	raise(&h.max, int64(d))
}

func bucketOf(d time.Duration) int {
	shift := max(bits.Len64(uint64(d))-stepBits-1, 0)
	return shift*steps + int(d>>shift)
}

// top returns the longest time in a bucket.
func top(bucket int) time.Duration {
	shift := max(bucket/steps-1, 0)
	return time.Duration(bucket-shift*steps+1)<<shift - 1
}

// Snapshot returns a copy of the counts so far.
func (h *histogram) Snapshot() *snapshot {
	s := &snapshot{counts: make([]uint64, buckets), max: time.Duration(h.max.Load())}
	for i := range h.counts {
		s.counts[i] = h.counts[i].Load()
		s.total += s.counts[i]
	}
	return s
}

// snapshot is an immutable copy of a histogram.
type snapshot struct {
	counts []uint64
	total  uint64
	max    time.Duration
}

// Since returns the counts since an earlier snapshot of the same histogram.
func (s *snapshot) Since(earlier *snapshot) *snapshot {
	d := &snapshot{counts: make([]uint64, buckets), total: s.total - earlier.total}
	for i := range d.counts {
		if d.counts[i] = s.counts[i] - earlier.counts[i]; d.counts[i] > 0 {
			d.max = min(top(i), s.max)
		}
	}
	return d
}

// Count returns the number of recorded times.
func (s *snapshot) Count() uint64 { return s.total }

// Max returns the longest time.
func (s *snapshot) Max() time.Duration { return s.max }

// Quantile returns the q-quantile (0–1) of the times, by nearest rank. It returns 0 if there are
// no times.
func (s *snapshot) Quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(s.total)))
	rank = min(max(rank, 1), s.total)
	for i, n := range s.counts {
		if rank <= n && n > 0 {
			return min(top(i), s.max)
		}
		rank -= n
	}
	return 0
}
