package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{3}, spread{3, 3, 3, 1}},
		{"odd, out of order", []float64{9, 1, 5}, spread{5, 1, 9, 3}},
		{"even", []float64{4, 1, 2, 8}, spread{3, 1, 8, 4}},
	} {
		if got, ok := spreadOf(tc.values); !ok || got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
	if _, ok := spreadOf(nil); ok {
		t.Error("an empty series has a spread")
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 6000: "6,000", 1234567.8: "1,234,568", 98.76: "98.8", 1.234: "1.23", 0.01234: "0.0123", -1234.5: "-1,234", -999: "-999",
		0.00003: "0.000030", -0.00046: "-0.00046",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

// invented returns results with a value for every series that the table or its texts name. If
// good is set, all goals are reached.
func invented(t *testing.T, good bool) *results {
	t.Helper()
	r := newResults()
	r.Rounds = 1
	for _, g := range table() {
		v := g.limit
		if !good && g.better == atLeast {
			v = g.limit/2 - 1
		} else if !good {
			v = 2*g.limit + 1
		}
		if len(r.Series[g.series]) == 0 {
			r.add(g.series, v)
		}
		r.typed(g.probe, "command of "+g.probe)
	}
	for _, g := range table() {
		for _, b := range g.beside {
			if len(r.Series[b.series]) == 0 {
				r.add(b.series, 1)
			}
		}
	}
	for _, name := range partNames() {
		for _, of := range []string{postgresDB, sqliteDB, relayed} {
			r.add(costSeries(name, of), 1)
		}
	}
	for _, of := range []string{postgresDB, sqliteDB, relayed} {
		r.add(series("throughput/cpu", of), 1)
	}
	for _, l := range layouts {
		for _, n := range []int{100, 10_000} {
			r.add(growthSeries("p50", l, n), 1)
			r.add(growthSeries("p99", l, n), 2)
			r.add(growthSeries("memory", l, n), 20)
		}
	}
	return r
}

func render(t *testing.T, r *results) string {
	t.Helper()
	var b strings.Builder
	if err := r.report(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReportSaysWhatIsReached(t *testing.T) {
	t.Parallel()
	good := render(t, invented(t, true))
	if strings.Contains(good, "**no**") || strings.Contains(good, "not reached") {
		t.Errorf("all goals are reached, but the report says otherwise:\n%s", good)
	}
	bad := render(t, invented(t, false))
	if strings.Contains(bad, "| yes |") || !strings.Contains(bad, "## Goals not reached") {
		t.Errorf("no goal is reached, but the report says otherwise:\n%s", bad)
	}
	if n, want := strings.Count(bad, "the goal is"), len(table()); n != want {
		t.Errorf("%d goals are explained, want %d", n, want)
	}
	for _, leftover := range []string{"%[1]s", "%!", "<no value>", "{{"} {
		if strings.Contains(bad, leftover) {
			t.Errorf("%q is in the report", leftover)
		}
	}
}

func TestQuickRunIsNotJudged(t *testing.T) {
	t.Parallel()
	r := invented(t, true)
	r.Quick = true
	if text := render(t, r); strings.Contains(text, "| yes |") || !strings.Contains(text, "A quick run") {
		t.Errorf("a quick run claims to have reached something:\n%s", text)
	}
}

func TestReportOfAPart(t *testing.T) {
	t.Parallel()
	r := newResults()
	r.typed("rate", "claudemesh bench rate")
	r.trouble("burst", []string{"the  broker at 127.0.0.1:80 (/tmp/x) is away\nits log", "the  broker at 127.0.0.1:80 (/tmp/x) is away\nits log"})
	text := render(t, r)
	if !strings.Contains(text, "not measured") || strings.Contains(text, "1,000,000 queued") {
		t.Errorf("the report has rows of probes that didn't run, or lacks rows of one that did:\n%s", text)
	}
	if strings.Count(text, "- burst: the broker at … (…) is away\n") != 1 {
		t.Errorf("the report doesn't list the problem exactly once:\n%s", text)
	}
}

// TestPlotsShowOnlyData checks that what wasn't measured has no bar and no line, instead of one at 0.
func TestPlotsShowOnlyData(t *testing.T) {
	t.Parallel()
	r := invented(t, true)
	delete(r.Series, series("throughput", oneStream))
	for _, l := range layouts { // only the memory was measured
		for _, n := range r.sizesOf(l) {
			delete(r.Series, growthSeries("p50", l, n))
			delete(r.Series, growthSeries("p99", l, n))
		}
	}
	dir := t.TempDir()
	if err := r.plot(dir); err != nil {
		t.Fatal(err)
	}
	rates, err := os.ReadFile(filepath.Join(dir, "bench-throughput.svg"))
	if err != nil || bytes.Contains(rates, []byte(">JetStream<")) || !bytes.Contains(rates, []byte(">W<")) {
		t.Errorf("JetStream has a bar, or W has none: %v\n%s", err, rates)
	}
	growth, err := os.ReadFile(filepath.Join(dir, "bench-growth.svg"))
	if err != nil || bytes.Contains(growth, []byte("p50")) || !bytes.Contains(growth, []byte("memory in use")) {
		t.Errorf("latency has a line, or memory has none: %v\n%s", err, growth)
	}
}

// TestFailedRunKeepsTheReport checks that a run that has measured nothing writes no report.
func TestFailedRunKeepsTheReport(t *testing.T) {
	t.Parallel()
	r, dir := newResults(), t.TempDir()
	r.trouble("runner", []string{"start Postgres: no such file"})
	saved := filepath.Join(dir, "results.json")
	if err := r.save(saved); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), &options{render: saved, out: dir}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "BENCHMARKS.md")); err == nil {
		t.Error("there is a report")
	}
}

// TestWhole checks that saved results of some probes don't count as those of all.
func TestWhole(t *testing.T) {
	t.Parallel()
	r := invented(t, true)
	if !r.whole() {
		t.Error("the results of all probes are not whole")
	}
	delete(r.Commands, "rate")
	if r.whole() {
		t.Error("results without those of a probe are whole")
	}
	if r.trouble("rate", []string{"failed"}); !r.whole() {
		t.Error("the results of a run in which a probe failed are not whole")
	}
}

// TestUndefinedFigure checks that a quotient without a value doesn't spoil the results.
func TestUndefinedFigure(t *testing.T) {
	t.Parallel()
	r := newResults()
	r.add("x", math.NaN())
	r.add("x", math.Inf(1))
	if _, ok := r.of("x"); ok || len(r.Problems["runner"]) != 2 {
		t.Errorf("got %v, problems %v", r.Series, r.Problems)
	}
	if err := r.save(filepath.Join(t.TempDir(), "results.json")); err != nil {
		t.Error(err)
	}
}

// TestTitle checks that the full name of a row begins like the row that it continues.
func TestTitle(t *testing.T) {
	t.Parallel()
	titles := map[string]string{}
	for _, g := range table() {
		titles[g.series] = title(&g)
	}
	for name, want := range map[string]string{
		"flood/push/sqlite/p99": "a pair during another member's flood: p99, sqlite",
		"cluster/share":         "sockets at another node than the owner of their mesh: messages delivered, of those at the owner, postgres",
		"hook/ratio":            "processor time of a hook, relative to a Go program that prints a line",
	} {
		if titles[name] != want {
			t.Errorf("%s: %q, want %q", name, titles[name], want)
		}
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	t.Parallel()
	r := invented(t, false)
	saved := filepath.Join(t.TempDir(), "results.json")
	if err := r.save(saved); err != nil {
		t.Fatal(err)
	}
	again, err := loadResults(saved)
	if err != nil {
		t.Fatal(err)
	}
	one, other := t.TempDir(), t.TempDir()
	for dir, r := range map[string]*results{one: r, other: again} {
		if err := r.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"BENCHMARKS.md", "docs/bench-throughput.svg", "docs/bench-growth.svg"} {
		a, errA := os.ReadFile(filepath.Join(one, name))
		b, errB := os.ReadFile(filepath.Join(other, name))
		if errA != nil || errB != nil || len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s: %d and %d bytes, %v %v: two reports of the same results differ", name, len(a), len(b), errA, errB)
		}
	}
}

func TestEveryGoalHasAProbe(t *testing.T) {
	t.Parallel()
	for _, g := range table() {
		if _, err := choose(g.probe); err != nil {
			t.Errorf("%s: %v", g.what, err)
		}
	}
	if _, err := choose("rate,nothing"); err == nil {
		t.Error("a probe that does not exist can be chosen")
	}
}

func TestStage(t *testing.T) {
	t.Parallel()
	var order []string
	problems := perform(t.Context(), func(s *stage) {
		s.Cleanup(func() { order = append(order, "first") })
		s.Cleanup(func() {
			order = append(order, "second")
			s.Fatal("cleaning up failed")
		})
		s.Errorf("noted %d", 1)
		s.Fatalf("ended %d", 2)
		order = append(order, "never")
	})
	if got, _ := json.Marshal(problems); string(got) != `["noted 1","ended 2","cleaning up failed"]` {
		t.Errorf("problems: %s", got)
	}
	if strings.Join(order, " ") != "second first" {
		t.Errorf("got calls in order %v", order)
	}
}
