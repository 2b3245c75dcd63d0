package caddymesh

import (
	"net"
	"strings"
	"testing"
)

// TestStorageAway checks that a broker with an unreachable database starts anyway, reports
// the problem, and asks clients to try again.
func TestStorageAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CLAUDEMESH_TEST_DSN", "postgres://mesh:hunter2@"+nobody+"/mesh?connect_timeout=2")
	s := startServer(t, "storage postgres {env.CLAUDEMESH_TEST_DSN}", "create_meshes open")

	tests := []struct {
		method, path, body string
		status             int
		want               string // the beginning of the body
	}{
		{"GET", "/health", "", 200, `{"status":"ok","db":"down",`},
		{"GET", "/health/ready", "", 503, `{"status":"not_ready","reason":"`},
		{"POST", "/join", joinBody, 503, `{"ok":false,"error":"try_again","message":"`},
		{"POST", "/invites/abcdefghijklmnop/claim", "{}", 503, `{"ok":false,"error":"try_again","message":"`},
		{"POST", "/meshes", "{}", 503, `{"ok":false,"error":"try_again","message":"`},
		{"GET", "/i/abcdefghijklmnop", "", 503, "<!doctype html>"},
	}
	for _, test := range tests {
		response, body := s.do(test.method, test.path, test.body)
		if response.StatusCode != test.status || !strings.HasPrefix(body, test.want) {
			t.Errorf("%s %s: %d %s\nwant %d %s", test.method, test.path, response.StatusCode, body, test.status, test.want)
		}
		if (response.Header.Get("Retry-After") != "") != (test.status == 503) {
			t.Errorf("%s %s: Retry-After %q", test.method, test.path, response.Header.Get("Retry-After"))
		}
		if strings.Contains(body, "hunter2") {
			t.Errorf("%s %s shows a secret: %s", test.method, test.path, body)
		}
	}
}
