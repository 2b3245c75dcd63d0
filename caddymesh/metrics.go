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

// metric is one figure of broker.Stats.
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

// age is the time since a moment; 0 for the zero time. Of several brokers the greatest counts.
func age(name, help string, since func(*broker.Stats) time.Time) metric {
	m := newMetric(name, help, prometheus.GaugeValue, func(s *broker.Stats) float64 {
		if since(s).IsZero() {
			return 0
		}
		return max(0, time.Since(since(s)).Seconds())
	})
	m.merge = greatest
	return m
}

func sum(a, b float64) float64      { return a + b }
func greatest(a, b float64) float64 { return max(a, b) }

var metrics = []metric{
	gauge("connections", "Open WebSocket connections.", func(s *broker.Stats) int { return s.Connections }),
	gauge("meshes", "Meshes in memory.", func(s *broker.Stats) int { return s.Meshes }),
	gauge("presences", "Sessions and members that are here, leased ones included.", func(s *broker.Stats) int { return s.Presences }),
	gauge("presences_leased", "Presences that wait for their connection to come back.", func(s *broker.Stats) int { return s.Leased }),
	counter("joins_total", "Hellos that became a presence, or one again.", func(s *broker.Stats) int64 { return s.Joins }),
	counter("panics_total", "Connections that ended in a panic of the broker's.", func(s *broker.Stats) int64 { return s.Panics }),
	gauge("backlog_bytes", "Bytes that wait to be written to the slowest reader.", func(s *broker.Stats) int { return s.Backlog }),
	gauge("mailboxes", "Recipients with deliveries in memory.", func(s *broker.Stats) int { return s.Queue.Mailboxes }),
	gauge("queue_deliveries", "Deliveries that wait for their recipients, as the storage counted last.", func(s *broker.Stats) int64 { return s.Depth.Deliveries }),
	age("queue_oldest_seconds", "Age of the oldest message that waits for a recipient, 0 for none.", func(s *broker.Stats) time.Time { return s.Depth.Oldest }),
	gauge("messages_open", "Messages that are not safe yet.", func(s *broker.Stats) int { return s.Queue.Open }),
	age("messages_open_oldest_seconds", "Age of the oldest message that is not safe yet, 0 for none.", func(s *broker.Stats) time.Time { return s.Queue.Oldest }),
	counter("messages_accepted_total", "Messages accepted for delivery.", func(s *broker.Stats) int64 { return s.Queue.Accepted }),
	counter("messages_repeated_total", "Messages that were sent again and known already.", func(s *broker.Stats) int64 { return s.Queue.Repeated }),
	counter("pushes_total", "Messages pushed to a recipient, redeliveries included.", func(s *broker.Stats) int64 { return s.Queue.Pushed }),
	counter("deliveries_total", "Deliveries that their recipient acknowledged.", func(s *broker.Stats) int64 { return s.Queue.Acknowledged }),
	counter("redeliveries_total", "Pushes taken back for want of an acknowledgement.", func(s *broker.Stats) int64 { return s.Queue.Redelivered }),
	gauge("messages_waiting", "Messages that wait for the storage.", func(s *broker.Stats) int { return s.Journal.Waiting }),
	gauge("messages_held", "Sends that wait until there is room for them before the storage.", func(s *broker.Stats) int { return s.Parked }),
	counter("messages_stored_total", "Messages that the storage took.", func(s *broker.Stats) int64 { return s.Journal.Messages }),
	counter("recipients_stored_total", "Recipients of the messages that the storage took.", func(s *broker.Stats) int64 { return s.Journal.Deliveries }),
	gauge("journal_budget_bytes", "What may wait for the storage in memory.", func(s *broker.Stats) int64 { return s.Journal.Budget }),
	gauge("journal_used_bytes", "What waits for the storage in memory.", func(s *broker.Stats) int64 { return s.Journal.Used }),
	counter("commits_total", "Batches that the storage took.", func(s *broker.Stats) int64 { return s.Journal.Commits }),
	counter("commit_errors_total", "Attempts to store a batch that failed.", func(s *broker.Stats) int64 { return s.Journal.Failures }),
	counter("audit_entries_total", "Entries added to the audit chains.", func(s *broker.Stats) int64 { return s.Journal.Audited }),
}

// tally is a counter for each word of a closed set, or for each combination of two.
type tally struct {
	desc   *prometheus.Desc
	counts func(*broker.Stats, func(n int64, labels ...string))
}

func newTally(name, help string, labels []string, counts func(*broker.Stats, func(n int64, labels ...string))) tally {
	return tally{prometheus.NewDesc(metricPrefix+name, help, labels, nil), counts}
}

// words is a tally of one label.
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
	words("connections_ended_total", "Connections that ended, by how.", "how",
		func(s *broker.Stats) map[string]int64 { return s.Ended }),
	words("hellos_total", "Hellos, by outcome.", "outcome",
		func(s *broker.Stats) map[string]int64 { return s.Hellos }),
	newTally("messages_total", "Messages, by what their senders were told and by priority.", []string{"outcome", "priority"},
		func(s *broker.Stats, add func(int64, ...string)) {
			for m, n := range s.Messages {
				add(n, m.Outcome, m.Priority)
			}
		}),
	newTally("storage_errors_total", "Failures of the storage, by what was asked of it and why it failed.", []string{"operation", "reason"},
		func(s *broker.Stats, add func(int64, ...string)) {
			for e, n := range s.Storage {
				add(n, e.Operation, string(e.Reason))
			}
		}),
}

// Of the process, and of the storages.
var (
	infoDesc = prometheus.NewDesc(metricPrefix+"build_info", "1; the label tells the version.", []string{"version"}, nil)
	// Readiness is that of GET /health/ready.
	readyDesc = prometheus.NewDesc(metricPrefix+"ready", "1 when messages are accepted and could be stored now, else 0.", nil, nil)
	usedDesc  = prometheus.NewDesc(metricPrefix+"storage_bytes", "Size of the SQLite files.", nil, nil)
	freeDesc  = prometheus.NewDesc(metricPrefix+"storage_free_bytes", "Room left on the file system of the SQLite file.", nil, nil)
)

// readyTimeout bounds how long a scrape waits for the storage to answer.
const readyTimeout = 2 * time.Second

// collector tells of a config's brokers. The figures live in the brokers and in their
// hubs, so they survive a reload, which gives every config a new registry.
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

// Collect sends what all brokers add up to.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	uses := c.app.running()
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
	ch <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, ready(uses))
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

// ready is 1 when every broker is ready.
func ready(uses []live) float64 {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for _, u := range uses {
		if u.broker.Ready(ctx) != nil {
			return 0
		}
	}
	return 1
}

// collectDisk tells of the storages that are files of this machine.
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

// live is a broker that runs, with its storage.
type live struct {
	broker  *broker.Broker
	storage Storage
}

// running lists the brokers that run.
func (a *App) running() (all []live) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uses {
		if b := u.hub.broker.Load(); b != nil {
			all = append(all, live{b, u.storage})
		}
	}
	return all
}

// Interface guards
var _ prometheus.Collector = collector{}
