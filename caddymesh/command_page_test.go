package caddymesh

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestPageProxy checks that the page command passes on the page, without what browsers send
// along, and nothing else of the admin endpoint.
func TestPageProxy(t *testing.T) {
	t.Parallel()
	var asked []*http.Request
	admin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
	})}
	dir, err := os.MkdirTemp("", "cm-") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "admin.sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = admin.Serve(listener) }()
	defer admin.Close()
	e, err := parseEndpoint("unix/" + socket + "|0200")
	if err != nil {
		t.Fatal(err)
	}
	proxy := newPageProxy(&e)
	for _, tt := range []struct {
		method, host, path string
		status             int
	}{
		{"GET", "127.0.0.1:7990", "/claudemesh/", http.StatusOK},
		{"GET", "localhost:7990", "/claudemesh/events", http.StatusOK},
		{"GET", "[::1]:7990", "/", http.StatusFound},
		{"GET", "evil.example:7990", "/claudemesh/", http.StatusMisdirectedRequest},
		{"POST", "localhost:7990", "/claudemesh/", http.StatusMethodNotAllowed},
		{"GET", "localhost:7990", "/config/", http.StatusNotFound},
		{"GET", "localhost:7990", "/claudemesh/kick", http.StatusNotFound},
		{"GET", "localhost:7990", "/claudemesh/../config/", http.StatusNotFound},
		{"POST", "localhost:7990", "/stop", http.StatusMethodNotAllowed},
	} {
		asked = nil
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil)
		r.Host = tt.host
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Cookie", "secret")
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, r)
		if w.Code != tt.status || (tt.status == http.StatusOK) != (len(asked) == 1) {
			t.Errorf("%s %s at %s: %d, asked %d times", tt.method, tt.path, tt.host, w.Code, len(asked))
		}
		if tt.status != http.StatusOK {
			continue
		}
		if r := asked[0]; r.Host != "127.0.0.1" || r.URL.Path != tt.path || r.Header.Get("Sec-Fetch-Mode") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("the endpoint got %s %s with %v", r.Host, r.URL, r.Header)
		}
		if w.Header().Get("Content-Security-Policy") == "" {
			t.Error("the page has no Content-Security-Policy")
		}
	}
}
