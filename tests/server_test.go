package tests

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// patience is the time limit for anything that must happen.
const patience = await.Patience

// server is a broker with helpers for the tests of its protocol.
type server struct{ *harness.Broker }

// startServer starts a broker and waits until it is ready. env holds settings as NAME=value.
// The broker stops when the test ends.
func startServer(t testing.TB, env ...string) *server {
	t.Helper()
	s := newServer(t, env...)
	s.Start()
	return s
}

// newServer prepares a broker without starting it.
func newServer(t testing.TB, env ...string) *server {
	t.Helper()
	return &server{harness.NewBroker(t, commands, env...)}
}

func homeEnv(home string) []string     { return harness.HomeEnv(home) }
func shortTempDir(t testing.TB) string { t.Helper(); return harness.ShortTempDir(t) }
func freePort(t testing.TB) int        { t.Helper(); return harness.FreePort(t) }

func (s *server) sqlitePath() string {
	return filepath.Join(s.Home, "data", "caddy", "claudemesh", "claudemesh.db")
}

// do sends a request with a body and returns the status and the body of the answer.
func (s *server) do(t testing.TB, method, path, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.URL(path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	res, err := harness.HTTPClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// post sends JSON and returns the status and the JSON object of the answer.
func (s *server) post(t testing.TB, path string, body any) (int, frame) {
	t.Helper()
	status, text := s.do(t, http.MethodPost, path, toJSON(t, body), "Content-Type", "application/json")
	answer := frame{}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("POST %s: %d %q isn't a JSON object", path, status, text)
	}
	return status, answer
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
