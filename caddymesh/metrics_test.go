package caddymesh

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/internal/await"
)

// appInForce returns the App that last started the broker on a SQLite file.
func appInForce(t *testing.T, path string) *App {
	t.Helper()
	var app *App
	hubs.Range(func(key, value any) bool {
		if key == (&SQLite{Path: path}).Identity() {
			app = value.(*hub).applied.app
		}
		return true
	})
	if app == nil {
		t.Fatalf("no broker on %s", path)
	}
	return app
}

func gather(t *testing.T, app *App) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registerMetrics(registry, app, zap.NewNop())
	registerMetrics(registry, app, zap.NewNop()) // again, as another handler of the config would
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s goes against the conventions: %s", p.Metric, p.Text)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += "{" + label.GetValue() + "}"
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if h := m.GetHistogram(); h != nil && h.Schema == nil {
				t.Errorf("%s isn't a native histogram", name)
			}
		}
	}
	return values
}

const readyMetric = metricPrefix + "ready"

// TestNotReadyWithoutBroker checks that the metrics say so while a broker is being replaced.
func TestNotReadyWithoutBroker(t *testing.T) {
	t.Parallel()
	app := &App{measures: newMeasures(), uses: map[string]*use{"": {hub: newHub(nil)}}}
	if ready, ok := gather(t, app)[readyMetric]; ready != 0 || !ok {
		t.Errorf("%s is %g, there: %t; want 0", readyMetric, ready, ok)
	}
}

func TestMetricsSurviveReload(t *testing.T) {
	s := startServer(t)
	o := s.createMesh("Release Team")
	// When an answer arrives, the broker has counted the hello.
	o.ask("peers_list", map[string]any{"type": "list_peers", "_reqId": "p"})
	const commits = "caddy_claudemesh_commit_duration_seconds"
	var before map[string]float64
	await.Until(t, "the storage has taken a batch, and the broker is ready", func() bool {
		before = gather(t, appInForce(t, s.db("mesh.db")))
		return before[commits] > 0 && before[readyMetric] == 1
	})
	for name, want := range map[string]float64{
		"caddy_claudemesh_connections": 1, "caddy_claudemesh_presences": 1, "caddy_claudemesh_joins_total": 1,
		"caddy_claudemesh_connections_total{accepted}": 1, "caddy_claudemesh_hellos_total{accepted}": 1,
	} {
		if before[name] != want {
			t.Errorf("%s is %g, want %g", name, before[name], want)
		}
	}
	if err := s.load("send_burst 7"); err != nil {
		t.Fatal(err)
	}
	o.ask("peers_list", map[string]any{"type": "list_peers", "_reqId": "p"})
	after := gather(t, appInForce(t, s.db("mesh.db")))
	if after["caddy_claudemesh_joins_total"] != 1 || after["caddy_claudemesh_connections"] != 1 || before[commits] > after[commits] {
		t.Errorf("after the reload: %v", after)
	}
}
