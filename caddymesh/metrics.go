package caddymesh

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
)

// metric is one figure of broker.Stats.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*broker.Stats) float64
}

func newMetric(name, help string, kind prometheus.ValueType, value func(*broker.Stats) float64) metric {
	return metric{prometheus.NewDesc("caddy_claudemesh_"+name, help, nil, nil), kind, value}
}

var (
	metrics = []metric{
		newMetric("connections", "Open WebSocket connections.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Connections) }),
		newMetric("meshes", "Meshes in memory.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Meshes) }),
		newMetric("presences", "Presences, leased ones included.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Presences) }),
		newMetric("joins_total", "Hellos that became a presence, or one again.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Joins) }),
		newMetric("panics_total", "Connections that ended in a panic of the broker's.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Panics) }),
		newMetric("backlog_bytes", "Bytes that wait to be written to the slowest reader.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Backlog) }),
		newMetric("mailboxes", "Recipients with deliveries in memory.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Mailboxes) }),
		newMetric("messages_open", "Messages that are not safe yet.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Open) }),
		newMetric("messages_accepted_total", "Messages accepted for delivery.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Accepted) }),
		newMetric("messages_repeated_total", "Messages that were sent again and known already.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Repeated) }),
		newMetric("pushes_total", "Messages pushed to a recipient, redeliveries included.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Pushed) }),
		newMetric("deliveries_total", "Deliveries that their recipient acknowledged.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Acknowledged) }),
		newMetric("redeliveries_total", "Pushes taken back for want of an acknowledgement.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Queue.Redelivered) }),
		newMetric("messages_waiting", "Messages that wait for the storage.", prometheus.GaugeValue,
			func(s *broker.Stats) float64 { return float64(s.Journal.Waiting) }),
		newMetric("messages_stored_total", "Messages that the storage took.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Journal.Messages) }),
		newMetric("commits_total", "Batches that the storage took.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Journal.Commits) }),
		newMetric("commit_errors_total", "Batches that the storage did not take.", prometheus.CounterValue,
			func(s *broker.Stats) float64 { return float64(s.Journal.Failures) }),
	}
	refusedDesc = prometheus.NewDesc("caddy_claudemesh_refused_total",
		"Frames and hellos refused, by reason.", []string{"reason"}, nil)
)

// collector adds up the figures of a config's brokers. The figures live in the
// brokers, so they survive a reload, which gives every config a new registry.
type collector struct{ app *App }

// registerMetrics adds the app's collector to a config's registry. A broker
// without metrics is better than none, so a failure is only logged.
func registerMetrics(registry *prometheus.Registry, app *App, log *zap.Logger) {
	err := registry.Register(collector{app})
	var already prometheus.AlreadyRegisteredError
	if err != nil && !errors.As(err, &already) {
		log.Warn("metrics are not available", zap.Error(err))
	}
}

// Describe sends the descriptions of all metrics.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
	ch <- refusedDesc
}

// Collect sends the sums over the brokers.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	sums := make([]float64, len(metrics))
	refused := make(map[string]float64)
	for _, stats := range c.app.stats() {
		for i, m := range metrics {
			sums[i] += m.value(&stats)
		}
		for reason, n := range stats.Refused {
			refused[reason] += float64(n)
		}
	}
	for i, m := range metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, sums[i])
	}
	for reason, n := range refused {
		ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, n, reason)
	}
}

// stats takes a snapshot of each broker that runs.
func (a *App) stats() []broker.Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []broker.Stats
	for _, u := range a.uses {
		if b := u.hub.broker.Load(); b != nil {
			all = append(all, b.Stats())
		}
	}
	return all
}

// Interface guards
var _ prometheus.Collector = collector{}
