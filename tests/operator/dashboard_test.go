package operator

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/prometheus/promql"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// dashboardVariable names the directory of the page that scripts/screenshots makes of scripts/dashboard.
const dashboardVariable = "CLAUDEMESH_DASHBOARD"

// TestDashboardInABrowser takes screenshots of the Grafana dashboard for a broker with traffic, drawn by
// Grafana's own panels.
func TestDashboardInABrowser(t *testing.T) {
	page, dir := os.Getenv(dashboardVariable), os.Getenv(screenshotsVariable)
	if page == "" || dir == "" {
		t.Skip("only make screenshots needs it")
	}
	b := harness.NewBroker(t, commands, "SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "NEW_SESSIONS_PER_HOUR=1000000000",
		"WORK_PER_MIN=1000000000", "WORK_BURST=1000000000")
	b.Start()
	p := newPrometheus(t)
	const step = time.Second
	start := time.Now().Truncate(step)
	mesh := newMesh(t, b)
	p.scrapeAt(b, time.Now())
	sender, done := traffic(t, mesh)
	for scrapes, over := 1, false; !over; scrapes++ {
		select {
		case <-done:
			over = true
		case <-time.After(step):
		}
		if scrapes%10 == 0 {
			beRefused(t, mesh, sender)
		}
		p.scrapeAt(b, time.Now())
	}

	end := p.now.Truncate(step)
	data := map[string]any{"dashboard": json.RawMessage(dashboardFile(t)), "start": start.Unix(), "end": end.Unix(), "step": step.Seconds()}
	answers := make(map[string][][]series)
	for _, panel := range dashboard(t, step, end.Sub(start)) {
		for _, target := range panel.Targets {
			answers[panel.Title] = append(answers[panel.Title], p.graph(target.Expr, start, end, step))
		}
	}
	data["answers"] = answers
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(page, "data.js"), append([]byte("window.data = "), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	browser := openBrowser(t, chromium(t))
	browser.do(chromedp.EmulateViewport(1600, 1000))
	for _, mode := range []string{"light", "dark"} {
		browser.do(chromedp.Navigate("file://" + page + "/index.html?mode=" + mode))
		await.Until(t, "the graphs are drawn", func() bool {
			return browser.number(`document.querySelectorAll(".u-over").length`) >= 20
		})
		browser.save(filepath.Join(dir, "dashboard-"+mode+".png"))
	}
	for _, problem := range browser.reported() {
		t.Errorf("the browser reports: %s", problem)
	}
}

// traffic has sessions talk for a minute: steadily, as fast as they can, and while all of them reconnect. It
// closes done at the end. sender has sent a message to a session that is away.
func traffic(t *testing.T, mesh peer.Mesh) (sender *peer.Client, done chan struct{}) {
	t.Helper()
	absent := dial(t, peer.Options{Mesh: mesh})
	key := absent.Pubkey()
	absent.Close()
	sender = dial(t, peer.Options{Mesh: mesh})
	if _, err := sender.Send(t.Context(), to(key)); err != nil {
		t.Fatal(err)
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		rate, throughput, storm := bench.Defaults(bench.Rate), bench.Defaults(bench.Throughput), bench.Defaults(bench.Storm)
		rate.Rate, rate.Duration = 100, bench.Duration(20*time.Second)
		throughput.Pairs, throughput.Window, throughput.Duration = 4, 16, bench.Duration(5*time.Second)
		storm.Sessions, storm.Pairs, storm.Rate = 60, 10, 100
		for _, load := range []struct {
			kind     bench.Kind
			settings bench.Settings
		}{{bench.Rate, rate}, {bench.Throughput, throughput}, {bench.Rate, rate}, {bench.Storm, storm}, {bench.Rate, rate}} {
			if _, err := bench.Run(t.Context(), load.kind, bench.Config{Mesh: mesh}, load.settings); err != nil {
				t.Errorf("%s: %v", load.kind, err)
			}
		}
	}()
	return sender, done
}

// series is an answer's series: labels, and points of a time in seconds and a value.
type series struct {
	Labels map[string]string `json:"labels"`
	Points [][2]float64      `json:"points"`
}

// graph evaluates an expression over a time.
func (p *prometheus) graph(expr string, start, end time.Time, step time.Duration) []series {
	p.t.Helper()
	query, err := p.engine.NewRangeQuery(p.t.Context(), p.db, nil, expr, start, end, step)
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	defer query.Close()
	result := query.Exec(p.t.Context())
	matrix, ok := result.Value.(promql.Matrix)
	if result.Err != nil || !ok {
		p.t.Fatalf("%s: %v %v", expr, result.Value, result.Err)
	}
	list := []series{}
	for _, s := range matrix {
		one := series{s.Metric.Map(), [][2]float64{}}
		for _, point := range s.Floats {
			if !math.IsNaN(point.F) && !math.IsInf(point.F, 0) {
				one.Points = append(one.Points, [2]float64{float64(point.T) / 1000, point.F})
			}
		}
		list = append(list, one)
	}
	return list
}
