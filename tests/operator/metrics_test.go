package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// TestDashboard checks that every query of the Grafana dashboard returns data for a broker under
// load, and that the legend of a graph tells few lines apart.
func TestDashboard(t *testing.T) {
	t.Parallel()
	p, _ := loaded(t)
	for _, panel := range dashboard(t, scrapeEvery, 60*scrapeEvery) {
		var legend []string
		for _, target := range panel.Targets {
			p.reads(panel.Title, target.Expr)
			answer, err := p.ask(target.Expr)
			if err != nil || len(answer) == 0 {
				t.Errorf("%s: %s: no answer, %v", panel.Title, target.Expr, err)
			}
			for _, sample := range answer {
				if math.IsNaN(sample.F) || math.IsInf(sample.F, 0) {
					t.Errorf("%s: %s is %g", panel.Title, target.Expr, sample.F)
				}
				legend = append(legend, target.legend(sample.Metric))
			}
		}
		switch steps := panel.FieldConfig.Defaults.Thresholds.Steps; panel.Type {
		case "stat":
			if len(legend) != 1 || len(steps) == 0 { // Grafana's own threshold is red from 80
				t.Errorf("%s shows %d figures, with %d thresholds", panel.Title, len(legend), len(steps))
			}
		case "timeseries":
			slices.Sort(legend)
			if distinct := slices.Compact(slices.Clone(legend)); len(distinct) < len(legend) || len(legend) > 8 || slices.Contains(legend, "") {
				t.Errorf("%s has the legend %q", panel.Title, legend)
			}
		default:
			t.Errorf("%s is a %s", panel.Title, panel.Type)
		}
	}
}

// TestAlertsAreQuiet checks that every alert reads existing metrics, and that none fires for a
// healthy broker.
func TestAlertsAreQuiet(t *testing.T) {
	t.Parallel()
	p, _ := loaded(t)
	for name, expr := range alerts(t) {
		p.reads(name, expr)
		if firing, err := p.ask(expr); err != nil || len(firing) > 0 {
			t.Errorf("%s fires for a healthy broker, or failed: %v\n%v", name, err, firing)
		}
	}
}

// TestAlertsFire makes another broker take the storage, and then the database unreachable.
func TestAlertsFire(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	b := harness.NewBroker(t, commands, "DATABASE_URL="+pg.DSN())
	b.Start()
	mesh := newMesh(t, b)
	sender := dial(t, peer.Options{Mesh: mesh})
	rules, p := alerts(t), newPrometheus(t)
	for name, expr := range rules {
		if firing, err := p.ask(expr); (name == "ClaudemeshAbsent") != (len(firing) > 0) || err != nil {
			t.Errorf("%s without a broker: %v %v", name, firing, err)
		}
	}
	p.scrape(b)
	fires := func(name string) bool {
		firing, err := p.ask(rules[name])
		if err != nil {
			t.Fatal(name, err)
		}
		return len(firing) > 0
	}
	pg.Exec("DELETE FROM claudemesh.nodes") // as whoever takes over does
	await.Until(t, "ClaudemeshStorageTaken fires", func() bool {
		p.scrape(b)
		return fires("ClaudemeshStorageTaken")
	})
	b.AwaitReady()
	pg.Stop()
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	defer sending.Wait()
	defer stop()
	sending.Go(func() { _, _ = sender.Send(ctx, to(mesh.Member.Public())) }) // fails while the database is away
	for _, name := range []string{"ClaudemeshNotReady", "ClaudemeshStorageFails"} {
		await.Until(t, name+" fires", func() bool {
			p.scrape(b)
			return fires(name)
		})
	}
}

// reads checks that every selector of an expression matches a series.
func (p *prometheus) reads(what, expr string) {
	p.t.Helper()
	list, err := selectors(expr)
	if err != nil {
		p.t.Errorf("%s: %s: %v", what, expr, err)
	}
	for _, s := range list {
		if found, err := p.ask(s); err != nil || len(found) == 0 {
			p.t.Errorf("%s: %s reads %s, which matches no series of a broker under load: %v", what, expr, s, err)
		}
	}
}

// loaded returns the metrics of a broker with SQLite before and after a varied load.
func loaded(t *testing.T) (*prometheus, *harness.Broker) {
	t.Helper()
	b := harness.NewBroker(t, commands, "SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "NEW_SESSIONS_PER_HOUR=1000000000",
		"WORK_PER_MIN=1000000000", "WORK_BURST=1000000000")
	b.Start()
	mesh := newMesh(t, b)
	p := newPrometheus(t)
	p.scrape(b)
	known := p.series()
	dial(t, peer.Options{Mesh: mesh}).Close() // a session that is closed

	load := bench.Settings{Pairs: 4, Window: 8, Messages: 400, Size: 512, Timeout: bench.Duration(time.Minute)}
	result, err := bench.Run(t.Context(), bench.Throughput, bench.Config{Mesh: mesh}, load)
	if err != nil {
		t.Fatal(err)
	}
	if lost, _ := result.Value("lost"); lost != 0 {
		t.Fatalf("%g messages are lost", lost)
	}
	sender := dial(t, peer.Options{Mesh: mesh})
	beRefused(t, mesh, sender)
	// A waiting message. The broker counts waiting messages every ten seconds.
	absent := dial(t, peer.Options{Mesh: mesh})
	key := absent.Pubkey()
	absent.Close()
	if _, err := sender.Send(t.Context(), to(key)); err != nil {
		t.Fatal(err)
	}
	looking := newPrometheus(t)
	await.Until(t, "the message is counted", func() bool {
		looking.scrape(b)
		waiting, err := looking.ask("caddy_claudemesh_queue_deliveries > 0 and caddy_claudemesh_queue_oldest_seconds > 0")
		return err == nil && len(waiting) == 1
	})
	p.scrape(b)
	p.scrape(b) // a rate needs two samples, and some counters start with the load
	if now := p.series(); now != known {
		t.Errorf("the broker had %g series before the load, and has %g: a label grows", known, now)
	}
	return p, b
}

// series returns how many series of the broker there are at the newest scrape.
func (p *prometheus) series() float64 {
	p.t.Helper()
	count, err := p.ask(`count({__name__=~"caddy_claudemesh_.+"})`)
	if err != nil || len(count) != 1 {
		p.t.Fatalf("the broker has %v series, %v", count, err)
	}
	return count[0].F
}

// beRefused has the broker refuse a message of a sender, and a stranger's hello.
func beRefused(t *testing.T, mesh peer.Mesh, sender *peer.Client) {
	t.Helper()
	stranger, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sender.Send(t.Context(), to(stranger.Public())); err == nil {
		t.Fatal("the broker accepted a message to nobody")
	}
	mesh.Member = stranger
	if c, err := peer.Dial(t.Context(), peer.Options{Mesh: mesh, OneShot: true}); err == nil {
		c.Close()
		t.Fatal("the broker accepted a stranger")
	}
}

func to(key wire.Key) peer.Outgoing {
	return peer.Outgoing{To: []wire.Target{{Kind: wire.TargetKey, Key: key}}, Body: []byte("hello")}
}

// panel is a panel of the dashboard.
type panel struct {
	Title, Type string
	Targets     []target
	FieldConfig struct {
		Defaults struct {
			Thresholds struct{ Steps []struct{ Color string } }
		}
	}
}

// target is a query of a panel.
type target struct{ Expr, LegendFormat string }

// legend returns what Grafana calls a series of the answer.
func (q target) legend(series labels.Labels) string {
	return strings.TrimSpace(regexp.MustCompile(`{{(\w+)}}`).ReplaceAllStringFunc(q.LegendFormat, func(label string) string {
		return series.Get(strings.Trim(label, "{}"))
	}))
}

// dashboardFile returns the dashboard.
func dashboardFile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(commands.Repo, "deploy", "grafana", "claudemesh.json"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// dashboard returns the dashboard's panels. The variables in their queries are filled in for the time
// between two scrapes and the time shown.
func dashboard(t *testing.T, scrapes, shown time.Duration) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	if err := json.Unmarshal(dashboardFile(t), &d); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", fmt.Sprint(5*scrapes), "$__range", fmt.Sprint(shown), "$job", ".*", "$instance", ".*")
	panels := slices.DeleteFunc(d.Panels, func(p panel) bool { return p.Type == "row" })
	titles := make(map[string]bool)
	for _, p := range panels {
		if len(p.Targets) == 0 || titles[p.Title] {
			t.Errorf("panel %q has no query, or two panels have this title", p.Title)
		}
		titles[p.Title] = true
		for i := range p.Targets {
			p.Targets[i].Expr = fill.Replace(p.Targets[i].Expr)
		}
	}
	if len(panels) < 20 {
		t.Fatalf("the dashboard has %d panels", len(panels))
	}
	return panels
}

// alerts returns the expression of each alert.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(commands.Repo, "deploy", "prometheus", "alerts.yml"), false,
		model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	rules := make(map[string]string)
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
				t.Errorf("%s has no summary, or no severity", rule.Alert)
			}
			rules[rule.Alert] = rule.Expr
		}
	}
	return rules
}
