package caddymesh

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claudemesh/claudemesh/broker"
)

// measures holds the histograms of all brokers of the process, and the counters of events
// that concern a hub, not a broker. It lives as long as any config has a broker, so it
// survives reloads.
type measures struct {
	acked, held, messages, commits prometheus.Histogram
	lost                           prometheus.Counter
}

// measured holds the only measures of the process.
var measured = caddy.NewUsagePool()

const theMeasures = "measures" // the key in measured

// useMeasures returns the measures of the process. The caller calls releaseMeasures.
func useMeasures() (*measures, error) {
	m, _, err := measured.LoadOrNew(theMeasures, func() (caddy.Destructor, error) { return newMeasures(), nil })
	if err != nil {
		return nil, err
	}
	return m.(*measures), nil
}

func releaseMeasures() error {
	_, err := measured.Delete(theMeasures)
	return err
}

func newMeasures() *measures {
	// From 0.5 ms to 33 s.
	times := prometheus.ExponentialBuckets(0.0005, 2, 17)
	return &measures{
		acked:    newHistogram("message_ack_seconds", "Time until the sender got the ack of a message that is stored or acknowledged by every recipient.", times),
		held:     newHistogram("message_held_seconds", "Time for which sends were held back until the journal's budget had room for them.", times),
		messages: newHistogram("commit_messages", "Messages in a batch committed to the storage.", prometheus.ExponentialBuckets(1, 2, 9)),
		commits:  newHistogram("commit_duration_seconds", "Time that the storage took to commit a batch.", times),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "storage_lost_total", Help: "Number of times that another broker has taken over the storage, or other nodes the meshes of this one, or that the storage was set back.",
		}),
	}
}

// newHistogram returns a native histogram. It also has buckets, for scrapers that use the
// text format.
func newHistogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: metricPrefix + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	})
}

// Acked implements broker.Observer.
func (m *measures) Acked(took time.Duration) { m.acked.Observe(took.Seconds()) }

// Held implements broker.Observer.
func (m *measures) Held(took time.Duration) { m.held.Observe(took.Seconds()) }

// Committed implements broker.Observer.
func (m *measures) Committed(messages int, took time.Duration) {
	m.messages.Observe(float64(messages))
	m.commits.Observe(took.Seconds())
}

func (m *measures) all() []prometheus.Collector {
	return []prometheus.Collector{m.acked, m.held, m.messages, m.commits, m.lost}
}

// Describe implements prometheus.Collector.
func (m *measures) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *measures) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

// Destruct implements caddy.Destructor.
func (m *measures) Destruct() error { return nil }

// Interface guards
var (
	_ broker.Observer      = (*measures)(nil)
	_ prometheus.Collector = (*measures)(nil)
	_ caddy.Destructor     = (*measures)(nil)
)
