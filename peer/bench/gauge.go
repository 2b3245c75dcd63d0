package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Reading contains a broker's own figures. 0 means unknown.
type Reading struct {
	Resident    int64 // resident memory of the process, in bytes
	InUse       int64 // the part that is in use (Go's heap and stacks), in bytes
	Counts      bool  // whether the following fields are known
	Connections int64
	Joins       int64   // sessions that have joined since the broker started
	Commits     float64 // batches committed to the storage
	Accepted    float64 // messages accepted for delivery
}

// Gauge reads a broker's figures.
type Gauge func(ctx context.Context) (Reading, error)

const gaugeTimeout = 5 * time.Second

// errNoBroker means that the metrics don't come from a claudemesh broker.
var errNoBroker = errors.New("these metrics don't come from a claudemesh broker")

// Metrics returns a gauge that reads a Prometheus endpoint, such as Caddy's admin API,
// http://localhost:2019/metrics. A nil client means http.DefaultClient.
func Metrics(address string, client *http.Client) Gauge {
	if client == nil {
		client = http.DefaultClient
	}
	return func(ctx context.Context) (Reading, error) {
		ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return Reading{}, fmt.Errorf("read metrics: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return Reading{}, fmt.Errorf("read metrics: %w", err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return Reading{}, fmt.Errorf("read metrics: HTTP %d", resp.StatusCode)
		}
		return parseMetrics(resp.Body)
	}
}

// CollectGarbage returns a function that makes a broker in Caddy collect its garbage. It uses
// the profiler of the admin API at the URL's host.
func CollectGarbage(admin string, client *http.Client) func(context.Context) error {
	if client == nil {
		client = http.DefaultClient
	}
	return func(ctx context.Context) error {
		u, err := url.Parse(admin)
		if err != nil {
			return fmt.Errorf("collect garbage: %w", err)
		}
		u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/debug/pprof/heap", RawQuery: "gc=1"}
		for range 2 { // a sync.Pool is only empty after the second collection
			if err := fetch(ctx, client, u.String()); err != nil {
				return fmt.Errorf("collect garbage: %w", err)
			}
		}
		return nil
	}
}

func fetch(ctx context.Context, client *http.Client, u string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*gaugeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

const metricPrefix = "caddy_claudemesh_"

// parseMetrics parses the text format of Prometheus. It only needs samples without labels.
func parseMetrics(from io.Reader) (r Reading, err error) {
	found := make(map[string]float64)
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") || strings.Contains(name, "{") {
			continue
		}
		value, _, _ = strings.Cut(value, " ") // a timestamp may follow
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = v
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("read metrics: %w", err)
	}
	if _, ok := found[metricPrefix+"connections"]; !ok {
		return r, errNoBroker
	}
	return Reading{
		Resident:    int64(found["process_resident_memory_bytes"]),
		InUse:       int64(found["go_memstats_heap_inuse_bytes"] + found["go_memstats_stack_inuse_bytes"]),
		Counts:      true,
		Connections: int64(found[metricPrefix+"connections"]),
		Joins:       int64(found[metricPrefix+"joins_total"]),
		Commits:     found[metricPrefix+"commits_total"],
		Accepted:    found[metricPrefix+"messages_accepted_total"],
	}, nil
}

// Process returns a gauge that reads the resident memory of a process on this machine.
func Process(pid int) Gauge {
	return func(ctx context.Context) (Reading, error) {
		if kb, err := residentKB(pid); err == nil {
			return Reading{Resident: kb << 10}, nil
		}
		// This system isn't Linux.
		out, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
		kb, parseErr := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err = errors.Join(err, parseErr); err != nil {
			return Reading{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		return Reading{Resident: kb << 10}, nil
	}
}

// residentKB reads Linux's /proc.
func residentKB(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, errors.New("no VmRSS")
}

// errNoGauge means that a run reads no figures of its broker.
var errNoGauge = errors.New("the broker's figures are not read")

// watch reads a gauge repeatedly and keeps the last and the peak reading. It is safe for concurrent
// use.
type watch struct {
	mu    sync.Mutex
	gauge Gauge // may be nil
	last  Reading
	peak  int64 // of the resident memory
}

// read takes a reading. A figure that needs two readings is unknown if one of them fails: an
// older reading would tell of another moment.
func (w *watch) read(ctx context.Context) (Reading, error) {
	w.mu.Lock()
	gauge := w.gauge
	w.mu.Unlock()
	if gauge == nil {
		return Reading{}, errNoGauge
	}
	r, err := gauge(ctx)
	if err != nil {
		return Reading{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gauge == nil { // distrusted meanwhile
		return Reading{}, errNoGauge
	}
	w.last, w.peak = r, max(w.peak, r.Resident)
	return r, nil
}

// rebase makes the peak that of the readings from now on.
func (w *watch) rebase() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peak = 0
}

// distrust drops the gauge and all readings.
func (w *watch) distrust() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gauge, w.last, w.peak = nil, Reading{}, 0
}

func (w *watch) now() (last Reading, peak int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.peak
}
