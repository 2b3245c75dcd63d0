package cli

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

func TestMetricsAt(t *testing.T) {
	t.Setenv("CADDY_ADMIN", "")
	t.Chdir(t.TempDir())
	for from, want := range map[string]string{
		"": "http://localhost:2019/metrics", "127.0.0.1:7": "http://127.0.0.1:7/metrics", "https://host/m": "https://host/m",
	} {
		if got, client := metricsAt(from); got != want || client != nil {
			t.Errorf("%q: %s, %v", from, got, client)
		}
	}
	l, err := net.Listen("unix", "caddy-admin.sock")
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })}
	var served sync.WaitGroup
	defer served.Wait()
	defer server.Close()
	served.Go(func() { _ = server.Serve(l) })
	reaches := func(from string) {
		t.Helper()
		url, client := metricsAt(from)
		if client == nil {
			t.Fatalf("%q: %s is not a socket", from, url)
		}
		defer client.CloseIdleConnections()
		res, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if text, err := io.ReadAll(res.Body); string(text) != "/metrics" {
			t.Errorf("%q: %s, %v", from, text, err)
		}
	}
	reaches("")
	reaches("unix/caddy-admin.sock|0200")
	t.Setenv("CADDY_ADMIN", "unix/caddy-admin.sock|0600")
	reaches("")
}
