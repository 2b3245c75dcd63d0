package caddymesh

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
)

const metricPrefix = "caddy_claudemesh_"

// metric exports one field of broker.Stats.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*broker.Stats) float64
	merge func(a, b float64) float64 // of two brokers
}

func newMetric(name, help string, kind prometheus.ValueType, value func(*broker.Stats) float64) metric {
	return metric{prometheus.NewDesc(metricPrefix+name, help, nil, nil), kind, value, sum}
}

func gauge[N int | int64](name, help string, value func(*broker.Stats) N) metric {
	return newMetric(name, help, prometheus.GaugeValue, func(s *broker.Stats) float64 { return float64(value(s)) })
}

func counter(name, help string, value func(*broker.Stats) int64) metric {
	return newMetric(name, help, prometheus.CounterValue, func(s *broker.Stats) float64 { return float64(value(s)) })
}

// age exports the time since a moment, 0 for the zero time. For several brokers it exports
// the maximum.
func age(name, help string, since func(*broker.Stats) time.Time) metric {
	m := newMetric(name, help, prometheus.GaugeValue, func(s *broker.Stats) float64 {
		return secondsSince(since(s))
	})
	m.merge = greatest
	return m
}

// secondsSince returns how long ago something was. If it is not known or in the future, it returns 0.
func secondsSince(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}

func sum(a, b float64) float64      { return a + b }
func greatest(a, b float64) float64 { return max(a, b) }

var metrics = []metric{
	gauge("connections", "Open WebSocket connections.", func(s *broker.Stats) int { return s.Connections }),
	gauge("meshes", "Meshes in memory.", func(s *broker.Stats) int { return s.Meshes }),
	gauge("meshes_owned", "Meshes that this node of a cluster owns and serves; 0 without a cluster.", func(s *broker.Stats) int { return s.Owned }),
	gauge("connections_relayed", "WebSocket connections that this node of a cluster relays to the owners of their meshes; they are not among connections.", func(s *broker.Stats) int64 { return s.Relayed }),
	gauge("presences", "Presences, including leased ones.", func(s *broker.Stats) int { return s.Presences }),
	gauge("presences_leased", "Presences without a connection, until their lease ends.", func(s *broker.Stats) int { return s.Leased }),
	counter("joins_total", "Hellos that created a presence or reattached to one.", func(s *broker.Stats) int64 { return s.Joins }),
	counter("panics_total", "Connections that ended because of a panic in the broker.", func(s *broker.Stats) int64 { return s.Panics }),
	gauge("backlog_bytes", "Bytes in the write buffer of the slowest reader.", func(s *broker.Stats) int { return s.Backlog }),
	gauge("mailboxes", "Recipients with deliveries in memory.", func(s *broker.Stats) int { return s.Queue.Mailboxes }),
	gauge("queue_deliveries", "Deliveries waiting for their recipients, as the storage last counted them.", func(s *broker.Stats) int64 { return s.Depth.Deliveries }),
	age("queue_oldest_seconds", "Age of the oldest message waiting for a recipient, 0 if there is none.", func(s *broker.Stats) time.Time { return s.Depth.Oldest }),
	gauge("messages_open", "Messages that are neither stored nor acknowledged by every recipient yet.", func(s *broker.Stats) int { return s.Queue.Open }),
	age("messages_open_oldest_seconds", "Age of the oldest message that is neither stored nor acknowledged by every recipient yet, 0 if there is none.", func(s *broker.Stats) time.Time { return s.Queue.Oldest }),
	counter("messages_accepted_total", "Messages accepted for delivery.", func(s *broker.Stats) int64 { return s.Queue.Accepted }),
	counter("messages_repeated_total", "Resent messages that the broker recognized as duplicates.", func(s *broker.Stats) int64 { return s.Queue.Repeated }),
	counter("pushes_total", "Messages pushed to a recipient, including redeliveries.", func(s *broker.Stats) int64 { return s.Queue.Pushed }),
	counter("deliveries_total", "Deliveries that the recipient acknowledged.", func(s *broker.Stats) int64 { return s.Queue.Acknowledged }),
	counter("redeliveries_total", "Pushes whose delivery lease ended without an acknowledgement.", func(s *broker.Stats) int64 { return s.Queue.Redelivered }),
	gauge("messages_waiting", "Messages waiting to be stored.", func(s *broker.Stats) int { return s.Journal.Waiting }),
	gauge("messages_held", "Sends held back until the journal's budget has room for them.", func(s *broker.Stats) int { return s.Parked }),
	counter("messages_stored_total", "Messages stored.", func(s *broker.Stats) int64 { return s.Journal.Messages }),
	counter("recipients_stored_total", "Recipients of the stored messages.", func(s *broker.Stats) int64 { return s.Journal.Deliveries }),
	gauge("journal_budget_bytes", "Memory that messages waiting to be stored may use.", func(s *broker.Stats) int64 { return s.Journal.Budget }),
	gauge("journal_used_bytes", "Memory that messages waiting to be stored use.", func(s *broker.Stats) int64 { return s.Journal.Used }),
	counter("commits_total", "Batches committed to the storage.", func(s *broker.Stats) int64 { return s.Journal.Commits }),
	counter("commit_errors_total", "Failed attempts to store a batch.", func(s *broker.Stats) int64 { return s.Journal.Failures }),
	counter("audit_entries_total", "Entries added to the audit chains.", func(s *broker.Stats) int64 { return s.Journal.Audited }),
}

// tally exports a counter for each word of a closed set, or for each combination of two
// words.
type tally struct {
	desc   *prometheus.Desc
	counts func(*broker.Stats, func(n int64, labels ...string))
}

func newTally(name, help string, labels []string, counts func(*broker.Stats, func(n int64, labels ...string))) tally {
	return tally{prometheus.NewDesc(metricPrefix+name, help, labels, nil), counts}
}

// words returns a tally with one label.
func words(name, help, label string, counts func(*broker.Stats) map[string]int64) tally {
	return newTally(name, help, []string{label}, func(s *broker.Stats, add func(int64, ...string)) {
		for word, n := range counts(s) {
			add(n, word)
		}
	})
}

var tallies = []tally{
	words("refused_total", "Frames and hellos refused, by reason.", "reason",
		func(s *broker.Stats) map[string]int64 { return s.Refused }),
	words("connections_total", "Requests for a connection, by outcome.", "outcome",
		func(s *broker.Stats) map[string]int64 { return s.Requested }),
	words("connections_ended_total", "Connections that ended, by reason.", "reason",
		func(s *broker.Stats) map[string]int64 { return s.Ended }),
	words("hellos_total", "Hellos, by outcome.", "outcome",
		func(s *broker.Stats) map[string]int64 { return s.Hellos }),
	newTally("messages_total", "Messages, by the outcome that the broker reported to the sender and by priority.", []string{"outcome", "priority"},
		func(s *broker.Stats, add func(int64, ...string)) {
			for m, n := range s.Messages {
				add(n, m.Outcome, m.Priority)
			}
		}),
	newTally("storage_errors_total", "Storage failures, by operation and reason.", []string{"operation", "reason"},
		func(s *broker.Stats, add func(int64, ...string)) {
			for e, n := range s.Storage {
				add(n, e.Operation, string(e.Reason))
			}
		}),
}

// Metrics of the process and of the storages.
var (
	infoDesc = prometheus.NewDesc(metricPrefix+"build_info", "Always 1; the label is the version.", []string{"version"}, nil)
	// The readiness that GET /health/ready reports.
	readyDesc = prometheus.NewDesc(metricPrefix+"ready", "1 if the broker accepts messages and can store them now, else 0.", nil, nil)
	usedDesc  = prometheus.NewDesc(metricPrefix+"storage_bytes", "Size of the SQLite files in bytes.", nil, nil)
	freeDesc  = prometheus.NewDesc(metricPrefix+"storage_free_bytes", "Free space in bytes on the file system of the SQLite file.", nil, nil)
)

// readyTimeout limits the time that a scrape waits for the storage to answer.
const readyTimeout = 2 * time.Second

// collector exports the figures of a config's brokers. The brokers and their hubs hold the
// figures, so they survive a reload, although each config gets a new registry.
type collector struct{ app *App }

// registerMetrics adds the app's collector to a config's registry. It only logs an error,
// because a broker without metrics is better than no broker.
func registerMetrics(registry *prometheus.Registry, app *App, log *zap.Logger) {
	err := registry.Register(collector{app})
	var already prometheus.AlreadyRegisteredError
	if err != nil && !errors.As(err, &already) {
		log.Warn("could not register the broker's metrics", zap.Error(err))
	}
}

// Describe sends the descriptions of all metrics.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
	for _, t := range tallies {
		ch <- t.desc
	}
	for _, d := range []*prometheus.Desc{infoDesc, readyDesc, usedDesc, freeDesc} {
		ch <- d
	}
	c.app.measures.Describe(ch)
}

// Collect sends the sums over all brokers.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	uses, complete := c.app.running()
	all := make([]broker.Stats, len(uses))
	for i := range uses {
		all[i] = uses[i].broker.Stats()
	}
	for _, m := range metrics {
		var value float64
		for i := range all {
			value = m.merge(value, m.value(&all[i]))
		}
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value)
	}
	for _, t := range tallies {
		collectTally(ch, t, all)
	}
	ch <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, Version())
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, ready(uses, complete))
	collectDisk(ch, uses)
	c.app.measures.Collect(ch)
}

func collectTally(ch chan<- prometheus.Metric, t tally, all []broker.Stats) {
	type labels [2]string
	counts := make(map[labels]int64)
	width := 0
	for i := range all {
		t.counts(&all[i], func(n int64, values ...string) {
			var l labels
			width = copy(l[:], values)
			counts[l] += n
		})
	}
	for l, n := range counts {
		ch <- prometheus.MustNewConstMetric(t.desc, prometheus.CounterValue, float64(n), l[:width]...)
	}
}

// ready is 1 when every broker runs and is ready.
func ready(uses []live, complete bool) float64 {
	if !complete {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for _, u := range uses {
		if u.broker.Ready(ctx) != nil {
			return 0
		}
	}
	return 1
}

// collectDisk exports the storages that are files on this machine.
func collectDisk(ch chan<- prometheus.Metric, uses []live) {
	var used, free uint64
	files := 0
	for _, u := range uses {
		s, ok := u.storage.(*SQLite)
		if !ok {
			continue
		}
		room, err := freeBytes(s.Path)
		if err != nil {
			continue
		}
		if used += s.size(); files == 0 || room < free {
			free = room
		}
		files++
	}
	if files > 0 {
		ch <- prometheus.MustNewConstMetric(usedDesc, prometheus.GaugeValue, float64(used))
		ch <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(free))
	}
}

// live is a running broker and its storage.
type live struct {
	broker  *broker.Broker
	storage Storage
}

// running lists the running brokers. It reports false if there are none, or if one of the app is
// starting or being replaced.
func (a *App) running() (list []live, all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uses {
		if b := u.hub.broker.Load(); b != nil {
			list = append(list, live{b, u.storage})
		}
	}
	return list, len(list) > 0 && len(list) == len(a.uses)
}

// Interface guards
var _ prometheus.Collector = collector{}
