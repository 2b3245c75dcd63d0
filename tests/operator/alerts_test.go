package operator

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// line is a series whose value changes evenly.
type line struct {
	series        string // the name without its prefix, and one label=value or none
	start, change float64
}

// alertCases has, for each alert but that of an absent broker, series for which it is quiet and for which it fires. The
// changes are those of a minute.
var alertCases = map[string]struct{ quiet, fires []line }{
	"ClaudemeshNotReady":        {[]line{{"ready", 1, 0}}, []line{{"ready", 0, 0}}},
	"ClaudemeshMessagesNotSafe": {[]line{{"messages_open_oldest_seconds", 10, 0}}, []line{{"messages_open_oldest_seconds", 11, 0}}},
	"ClaudemeshStorageFails":    {[]line{{"storage_errors_total", 7, 0}}, []line{{"storage_errors_total", 7, 1}}},
	"ClaudemeshStorageTaken":    {[]line{{"storage_lost_total", 7, 0}}, []line{{"storage_lost_total", 7, 1}}},
	"ClaudemeshDiskFull":        {[]line{{"storage_free_bytes", 19e9, -1e6}}, []line{{"storage_free_bytes", 19e9, -20e6}}},
	"ClaudemeshQueueOld":        {[]line{{"queue_oldest_seconds", 5 * 86400, 60}}, []line{{"queue_oldest_seconds", 6*86400 + 1, 60}}},
	"ClaudemeshSlowAcks": {
		[]line{{"message_ack_seconds_bucket le=0.5", 0, 100}, {"message_ack_seconds_bucket le=2", 0, 100}, {"message_ack_seconds_bucket le=+Inf", 0, 100}},
		[]line{{"message_ack_seconds_bucket le=0.5", 0, 98}, {"message_ack_seconds_bucket le=2", 0, 100}, {"message_ack_seconds_bucket le=+Inf", 0, 100}},
	},
	"ClaudemeshHeldBack": {
		[]line{{"journal_used_bytes", 79, 0}, {"journal_budget_bytes", 100, 0}},
		[]line{{"journal_used_bytes", 81, 0}, {"journal_budget_bytes", 100, 0}},
	},
	"ClaudemeshRefuses": {
		[]line{{"messages_total outcome=accepted", 0, 80}, {"messages_total outcome=repeated", 0, 11}, {"messages_total outcome=queue_full", 0, 9}},
		[]line{{"messages_total outcome=accepted", 0, 80}, {"messages_total outcome=repeated", 0, 9}, {"messages_total outcome=queue_full", 0, 11}},
	},
	"ClaudemeshRedelivers": {
		[]line{{"redeliveries_total", 0, 19}, {"pushes_total", 0, 100}},
		[]line{{"redeliveries_total", 0, 21}, {"pushes_total", 0, 100}},
	},
	"ClaudemeshPanics": {[]line{{"panics_total", 7, 0}}, []line{{"panics_total", 7, 1}}},
}

// TestAlertThresholds checks on which side of its threshold each alert fires. TestAlertsAreQuiet checks that the broker has
// the metrics.
func TestAlertThresholds(t *testing.T) {
	t.Parallel()
	rules := alerts(t)
	delete(rules, "ClaudemeshAbsent") // TestAlertsFire has it
	if have, want := slices.Sorted(maps.Keys(alertCases)), slices.Sorted(maps.Keys(rules)); !slices.Equal(have, want) {
		t.Errorf("there are cases for %v, and alerts %v", have, want)
	}
	for name, expr := range rules {
		for want, lines := range map[bool][]line{false: alertCases[name].quiet, true: alertCases[name].fires} {
			p := newPrometheus(t)
			p.draw(30*time.Minute, lines)
			if firing, err := p.ask(expr); err != nil || (len(firing) > 0) != want {
				t.Errorf("%s with %v: got %v, %v; want it to fire: %t", name, lines, firing, err, want)
			}
		}
	}
	p := newPrometheus(t)
	p.draw(30*time.Minute, []line{{"storage_free_bytes", 0.9e9, 0}})
	if firing, err := p.ask(rules["ClaudemeshDiskFull"]); err != nil || len(firing) != 1 {
		t.Errorf("a full disk: %v, %v", firing, err)
	}
}

// draw stores lines as if they had been scraped for some time.
func (p *prometheus) draw(over time.Duration, lines []line) {
	p.t.Helper()
	to := p.db.Appender(p.t.Context())
	for n := range int(over / scrapeEvery) {
		p.now = p.now.Add(scrapeEvery)
		for _, l := range lines {
			name, label, _ := strings.Cut(l.series, " ")
			series := []string{labels.MetricName, "caddy_claudemesh_" + name, "job", "claudemesh", "instance", "mesh"}
			if key, value, ok := strings.Cut(label, "="); ok {
				series = append(series, key, value)
			}
			if _, err := to.Append(0, labels.FromStrings(series...), p.now.UnixMilli(), l.start+float64(n)*l.change); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	if err := to.Commit(); err != nil {
		p.t.Fatal(err)
	}
}
