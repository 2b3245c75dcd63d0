package bench

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	const text = `# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 5.8937344e+07
go_memstats_heap_inuse_bytes 6.0e+06
go_memstats_stack_inuse_bytes 1000000 1700000000000
caddy_http_requests_total{handler="claudemesh"} 12
caddy_claudemesh_connections 7
caddy_claudemesh_joins_total 9
caddy_claudemesh_commits_total 42
caddy_claudemesh_messages_accepted_total 4200
`
	r, err := parseMetrics(strings.NewReader(text))
	if err != nil || r != (Reading{58937344, 7000000, true, 7, 9, 42, 4200}) {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := parseMetrics(strings.NewReader("process_resident_memory_bytes 1\n")); !errors.Is(err, errNoBroker) {
		t.Errorf("metrics of another program: got error %v", err)
	}
}

func TestMetricsOverHTTP(t *testing.T) {
	t.Parallel()
	collected := 0
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/heap", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("gc") == "1" {
			collected++
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	if _, err := Metrics(server.URL+"/metrics", server.Client())(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a path without metrics: got %v, want an error with status 404", err)
	}
	if err := CollectGarbage(server.URL+"/metrics", server.Client())(t.Context()); err != nil || collected != 2 {
		t.Errorf("collected %d times, %v", collected, err)
	}
}

func TestProcessMemory(t *testing.T) {
	t.Parallel()
	r, err := Process(os.Getpid())(t.Context())
	if err != nil || r.Resident < 1<<20 || r.Resident > 1<<36 {
		t.Errorf("this process has %d bytes, %v", r.Resident, err)
	}
	if _, err := Process(1 << 30)(t.Context()); err == nil {
		t.Error("got the memory of a process that doesn't exist")
	}
}
