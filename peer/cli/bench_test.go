package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer/bench"
)

// benchDir returns the config directory of a member of a mesh on a new broker.
func benchDir(t *testing.T, sendBurst int) string {
	t.Helper()
	dir := t.TempDir()
	b := brokertest.Start(t, brokertest.Settings(func(s *broker.Settings) { s.SendBurst = sendBurst }))
	if code, _, errOut := run(t, dir, "", "create", "team", "--broker", b.URL()); code != exitOK {
		t.Fatal(errOut)
	}
	return dir
}

func TestBenchPrints(t *testing.T) {
	dir := benchDir(t, 100_000)
	code, out, errOut := run(t, dir, "", "bench", "throughput", "--pairs", "2", "--window", "3", "--messages", "1200", "--size", "10")
	if code != exitOK || errOut != "" {
		t.Fatalf("exit code %d, %q, %q", code, out, errOut)
	}
	lines := regexp.MustCompile(" +").ReplaceAllString(out, " ")
	for _, want := range []string{
		"throughput 2 pairs, window 3, 1,200 messages, 10 bytes\n", "\nmessages per second ", "\ndelivered 1,200\n",
		"\nlost 0\n", "\nduplicated 0\n", "\nbroker memory peak unknown MB\n", "\nms p50 p95 p99 max count\n", "\nsend→push ", "\nsend→ack ",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "refused") {
		t.Errorf("the output has a line without a figure:\n%s", out)
	}

	code, out, errOut = run(t, dir, "", "bench", "soak", "--pairs", "1", "--rate", "50", "--duration", "1500ms", "--interval", "300ms", "--progress")
	table, _, _ := strings.Cut(out, "soak  ")
	intervals := strings.Count(table, "unknown\n") // a busy machine misses some
	if code != exitOK || !strings.HasPrefix(out, "   seconds   messages/s") || intervals < 1 || intervals > 1 && !strings.Contains(out, "\nsend→push p50 drift") {
		t.Errorf("soak: exit code %d, %s, %s", code, out, errOut)
	}
	if !strings.Contains(errOut, " delivered, ") {
		t.Errorf("no progress: %q", errOut)
	}
}

func TestBenchExplainsRefusals(t *testing.T) {
	dir := benchDir(t, 10)
	code, out, errOut := run(t, dir, "", "bench", "burst", "--peers", "4", "--messages", "10", "--size", "10")
	// The limit allows 10 of 40 messages at once; on a slow machine some more pass.
	note := regexp.MustCompile(`Note: the broker refused \d+ messages \(rate_limit: .*raise its send_rate_per_min`)
	if code != exitOK || !note.MatchString(out) || !regexp.MustCompile(`\nrefused +[1-9]`).MatchString(out) {
		t.Errorf("exit code %d, %s, %s", code, out, errOut)
	}
}

func TestBenchJSONAndCompare(t *testing.T) {
	dir := benchDir(t, 100_000)
	write := func(name string, args ...string) string {
		code, out, errOut := run(t, dir, "", append([]string{"bench", "rate", "--json", "--pairs", "2", "--duration", "200ms"}, args...)...)
		if code != exitOK || errOut != "" {
			t.Fatalf("exit code %d, %q, %q", code, out, errOut)
		}
		r, err := bench.Read(strings.NewReader(out))
		if lost, ok := r.Value("lost"); err != nil || r.Name != bench.Rate || r.Settings.Pairs != 2 || !ok || lost != 0 || r.Machine.Cores < 1 {
			t.Fatalf("got %+v, %v", r, err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a, b, other := write("a.json"), write("b.json"), write("c.json", "--rate", "100")
	code, out, errOut := run(t, dir, "", "bench", "compare", a, b)
	if code != exitOK || !strings.HasPrefix(out, "FIGURE") || !strings.Contains(out, "\nsend→push p99") || !strings.Contains(out, "  =\n") {
		t.Errorf("exit code %d, %s, %s", code, out, errOut)
	}
	if code, _, errOut = run(t, dir, "", "bench", "compare", a, other); code != exitFailed || !strings.Contains(errOut, "rate 200 and 100; use --force") {
		t.Errorf("different settings: exit code %d, %s", code, errOut)
	}
	code, out, errOut = run(t, dir, "", "bench", "compare", "--force", "--json", a, other)
	var changes []bench.Change
	if err := json.Unmarshal([]byte(out), &changes); err != nil || code != exitOK || len(changes) < 10 {
		t.Errorf("by force: exit code %d, %s, %s, %v", code, out, errOut, err)
	}
	if code, _, errOut = run(t, dir, "", "bench", "compare", a, filepath.Join(dir, "config.json")); code != exitFailed || !strings.Contains(errOut, "not a result of claudemesh bench") {
		t.Errorf("no result: exit code %d, %s", code, errOut)
	}
}

func TestBenchVerdict(t *testing.T) {
	t.Parallel()
	figure := func(name string, v float64) bench.Figure { return bench.Figure{Name: name, Value: &v} }
	for _, tc := range []struct {
		name, says string
		result     bench.Result
		failed     bool
	}{
		{"all well", "", bench.Result{Results: []bench.Figure{figure("lost", 0), figure("refused", 5)}}, false},
		{"lost", "lost: 1,234 messages", bench.Result{Results: []bench.Figure{figure("lost", 1234)}}, true},
		{"duplicated", "duplicated: 1 messages", bench.Result{Results: []bench.Figure{figure("duplicated", 1)}}, true},
		{"interrupted", "interrupted", bench.Result{Interrupted: true}, true},
	} {
		var errOut strings.Builder
		a := &app{err: &errOut}
		if err := a.benchVerdict(&tc.result); errors.Is(err, errReported) != tc.failed || !strings.Contains(errOut.String(), tc.says) {
			t.Errorf("%s: %v, %q", tc.name, err, errOut.String())
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, tc := range []struct {
		name, says string
		args       []string
		want       int
	}{
		{"none of a kind", "Usage:", nil, exitOK},
		{"another kind", "unknown verb", []string{"speed"}, exitUsage},
		{"no pairs", "--pairs must be 1 to 100000", []string{"rate", "--pairs", "0"}, exitUsage},
		{"no rate", "--rate must be", []string{"soak", "--rate", "0"}, exitUsage},
		{"one peer", "--peers must be 2 to", []string{"burst", "--peers", "1"}, exitUsage},
		{"bad duration", "duration", []string{"rate", "--duration", "soon"}, exitUsage},
		{"two memories", "not both", []string{"idle", "--pid", "1", "--metrics", "http://x"}, exitUsage},
		{"no files", "are missing", []string{"compare"}, exitUsage},
		{"no such file", "no such file", []string{"compare", "/none/a", "/none/b"}, exitFailed},
		{"no mesh", "not joined a mesh", []string{"rate"}, exitFailed},
	} {
		code, out, errOut := run(t, t.TempDir(), "", append([]string{"bench"}, tc.args...)...)
		if code != tc.want || !strings.Contains(out+errOut, tc.says) {
			t.Errorf("%s: exit code %d, %q, %q", tc.name, code, out, errOut)
		}
	}
	dir := benchDir(t, 1)
	if code, _, errOut := run(t, dir, "", "bench", "idle", "--metrics", "http://127.0.0.1:1/metrics"); code != exitFailed || !strings.Contains(errOut, "read the broker's memory") {
		t.Errorf("no metrics: exit code %d, %s", code, errOut)
	}
	if code, _, errOut := run(t, dir, "", "bench", "fanout", "--from", dir); code != exitUsage || !strings.Contains(errOut, "another member") {
		t.Errorf("the recipient's own config: exit code %d, %s", code, errOut)
	}
}

// TestBenchHelp checks that the help of each bench names its flags and their defaults.
func TestBenchHelp(t *testing.T) {
	for kind, flags := range map[string][]string{
		"throughput": {"--pairs int", "--window int", "--messages int", "--duration duration", "(default 10s)", "--crypto"},
		"rate":       {"--rate float", "(default 200)", "--duration duration", "(default 30s)"},
		"burst":      {"--peers int", "--messages int", "(default 15m0s)"},
		"fanout":     {"--recipients int", "--from string"},
		"idle":       {"--sessions int", "--parallel int", "--pid int", "--gc"},
		"storm":      {"--sessions int", "--timeout duration"},
		"soak":       {"--interval duration", "(default 1h0m0s)"},
		"compare":    {"--force", "--json"},
	} {
		code, out, _ := run(t, t.TempDir(), "", "bench", kind, "--help")
		for _, want := range append(flags, "--json", "Usage:") {
			if code != exitOK || !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in the help:\n%s", kind, want, out)
			}
		}
		for line := range strings.Lines(out) {
			if len(line) > 200 {
				t.Errorf("%s: a long line: %s", kind, line)
			}
		}
	}
	if _, out, _ := run(t, t.TempDir(), "", "--help"); !strings.Contains(out, "bench") {
		t.Error("the command's help does not list the bench")
	}
}

func TestBenchValue(t *testing.T) {
	t.Parallel()
	v := func(x float64) *float64 { return &x }
	for _, tc := range []struct {
		value *float64
		unit  string
		want  string
	}{
		{nil, "MB", "unknown"},
		{v(0), "", "0"},
		{v(0.0034), "", "0.003"},
		{v(1234567), "", "1,234,567"},
		{v(6123.4), "1/s", "6,123"},
		{v(12.34), "1/s", "12.3"},
		{v(100), "%", "100.0"},
		{v(1234.5678), "ms", "1,234.568"},
		{v(0.4), "ms", "0.400"},
		{v(-1234), "", "-1,234"},
		{v(-123), "", "-123"},
	} {
		if got := benchValue(tc.value, tc.unit); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
