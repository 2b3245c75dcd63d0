package caddymesh

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/claudemesh/claudemesh/broker"
)

// measures are the distributions of all brokers of the process, and what happens to a hub
// rather than to a broker. They live as long as any config has a broker: over reloads.
type measures struct {
	acked, held, messages, commits prometheus.Histogram
	lost                           prometheus.Counter
}

// measured holds the one measures of the process.
var measured = caddy.NewUsagePool()

const theMeasures = "measures" // their key

// useMeasures returns the measures of the process. releaseMeasures must follow.
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
	// From half a millisecond to half a minute.
	times := prometheus.ExponentialBuckets(0.0005, 2, 17)
	return &measures{
		acked:    newHistogram("message_ack_seconds", "How long senders waited for the ack of a message that is safe.", times),
		held:     newHistogram("message_held_seconds", "How long sends waited until there was room for them before the storage.", times),
		messages: newHistogram("commit_messages", "Messages in a batch that the storage took.", prometheus.ExponentialBuckets(1, 2, 9)),
		commits:  newHistogram("commit_duration_seconds", "How long the storage took for a batch.", times),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "storage_lost_total", Help: "How often another broker has taken the storage.",
		}),
	}
}

// newHistogram makes a native histogram, with buckets for those who scrape the text format.
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
