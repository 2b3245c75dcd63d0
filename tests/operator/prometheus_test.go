package operator

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// scrapeEvery is the time between two scrapes in the database. The test doesn't wait for it.
const scrapeEvery = time.Minute

// prometheus is a Prometheus database with an engine, but without a server: the test scrapes.
type prometheus struct {
	t      *testing.T
	db     *teststorage.TestStorage
	engine *promql.Engine
	now    time.Time // the time of the newest scrape
}

func newPrometheus(t *testing.T) *prometheus {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	t.Cleanup(func() { _ = engine.Close() })
	return &prometheus{t: t, db: teststorage.New(t), engine: engine, now: time.Unix(1_700_000_000, 0)}
}

// scrape stores a broker's current metrics as those of scrapeEvery after the newest scrape.
func (p *prometheus) scrape(b *harness.Broker) {
	p.t.Helper()
	p.scrapeAt(b, p.now.Add(scrapeEvery))
}

// scrapeAt stores a broker's current metrics, like Prometheus.
func (p *prometheus) scrapeAt(b *harness.Broker, at time.Time) {
	p.t.Helper()
	res, err := adminClient(b).Get("http://localhost/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("metrics: %d %v %s", res.StatusCode, err, text)
	}
	from, err := textparse.New(text, res.Header.Get("Content-Type"), nil, textparse.ParserOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	p.now = at
	to := p.db.Appender(p.t.Context())
	for {
		entry, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := from.Series()
		var series labels.Labels
		from.Labels(&series)
		if series.Get(labels.MetricName) == "caddy_claudemesh_storage_free_bytes" {
			value = 100e9 // other programs on this machine use the same disk
		}
		series = labels.NewBuilder(series).Set("job", "claudemesh").Set("instance", "mesh").Labels()
		if _, err := to.Append(0, series, p.now.UnixMilli(), value); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := to.Commit(); err != nil {
		p.t.Fatal(err)
	}
}

// TestNativeHistograms scrapes a broker as a Prometheus does that stores native histograms.
func TestNativeHistograms(t *testing.T) {
	t.Parallel()
	b := harness.NewBroker(t, commands)
	b.Start()
	newMesh(t, b)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	answer, err := adminClient(b).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	from, err := textparse.New(metrics, answer.Header.Get("Content-Type"), nil, textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	native := make(map[string]bool)
	for {
		entry, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry == textparse.EntryHistogram {
			var series labels.Labels
			from.Labels(&series)
			native[series.Get(labels.MetricName)] = true
		}
	}
	for _, name := range []string{"message_ack_seconds", "message_held_seconds", "commit_messages", "commit_duration_seconds"} {
		if !native["caddy_claudemesh_"+name] {
			t.Errorf("%s is not among the native histograms %v", name, native)
		}
	}
}

// ask evaluates an expression at the time of the newest scrape.
func (p *prometheus) ask(expr string) (promql.Vector, error) {
	query, err := p.engine.NewInstantQuery(p.t.Context(), p.db, nil, expr, p.now)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(p.t.Context())
	if result.Err != nil {
		return nil, result.Err
	}
	switch v := result.Value.(type) {
	case promql.Vector:
		return append(promql.Vector(nil), v...), nil
	case promql.Scalar:
		return promql.Vector{{F: v.V}}, nil
	}
	return nil, fmt.Errorf("%s is a %s", expr, result.Value.Type())
}

// selectors returns the selectors of an expression.
func selectors(expr string) (list []string, err error) {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			list = append(list, s.String())
		}
		return nil
	})
	return list, nil
}
