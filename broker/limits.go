package broker

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiters holds a token bucket for each key. A bucket that is full again is forgotten: it
// equals a new one.
type limiters[K comparable] struct {
	mu      sync.Mutex
	buckets map[K]*rate.Limiter
}

func newLimiters[K comparable]() *limiters[K] {
	return &limiters[K]{buckets: make(map[K]*rate.Limiter)}
}

// allow takes a token of key's bucket, which fills at perMinute up to burst.
func (l *limiters[K]) allow(key K, perMinute, burst int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.buckets[key]
	if bucket == nil {
		bucket = rate.NewLimiter(rate.Limit(float64(perMinute)/60), burst)
		l.buckets[key] = bucket
	}
	tune(bucket, float64(perMinute)/60, burst, now)
	return bucket.AllowN(now, 1)
}

// tune applies the settings in force to a bucket.
func tune(bucket *rate.Limiter, perSecond float64, burst int, now time.Time) {
	if limit := rate.Limit(perSecond); bucket.Limit() != limit || bucket.Burst() != burst {
		bucket.SetLimitAt(now, limit)
		bucket.SetBurstAt(now, burst)
	}
}

// full reports whether a bucket equals a new one.
func full(bucket *rate.Limiter, now time.Time) bool {
	return bucket.TokensAt(now) >= float64(bucket.Burst())
}

// forget drops the buckets that are full.
func (l *limiters[K]) forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, bucket := range l.buckets {
		if full(bucket, now) {
			delete(l.buckets, key)
		}
	}
}
