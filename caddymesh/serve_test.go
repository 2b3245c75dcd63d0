package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

func TestRoutes(t *testing.T) {
	s := startServer(t, "create_meshes off")
	s.awaitReady()
	big := strings.Repeat(" ", maxBody) + "{}"
	full := `{"pad":"` + strings.Repeat("x", maxBody-10) + `"}` // exactly the limit
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string // the body
	}{
		{"ready", "GET", "/health/ready", "", 200, `{"status":"ready"}`},
		{"ready HEAD", "HEAD", "/health/ready", "", 200, ``},
		{"health HEAD", "HEAD", "/health", "", 200, ``},
		{"health POST", "POST", "/health", "", 405, `{"ok":false,"error":"method not allowed"}`},

		{"hook pending", "POST", "/hook/set-status", `{"cwd":"/x","pid":7,"status":"working","session_id":"s"}`, 200, `{"ok":true,"pending":true}`},
		{"hook without status", "POST", "/hook/set-status", `{"cwd":"/x","pid":7}`, 400, `{"ok":false,"error":"cwd and status required"}`},
		{"hook without cwd", "POST", "/hook/set-status", `{"status":"idle","pid":7}`, 400, `{"ok":false,"error":"cwd and status required"}`},
		{"hook not JSON", "POST", "/hook/set-status", `cwd=/x`, 400, `{"ok":false,"error":"the body must be one JSON object with the fields of this request"}`},
		{"hook too large", "POST", "/hook/set-status", big, 413, `{"ok":false,"error":"payload too large"}`},
		{"hook GET", "GET", "/hook/set-status", "", 405, `{"ok":false,"error":"method not allowed"}`},

		{"join bad signature", "POST", "/join", joinBody, 400, `{"ok":false,"error":"invite_bad_signature"}`},
		{"join empty", "POST", "/join", ``, 400, `{"ok":false,"error":"the body must be one JSON object with the fields of this request"}`},
		{"join name twice", "POST", "/join", `{"peer_pubkey":"a","peer_pubkey":"b"}`, 400, `{"ok":false,"error":"the body must be one JSON object with the fields of this request"}`},
		{"join text after the object", "POST", "/join", `{} {}`, 400, `{"ok":false,"error":"the body must be one JSON object with the fields of this request"}`},
		{"join mistyped", "POST", "/join", `{"peer_pubkey":7}`, 400, `{"ok":false,"error":"the body must be one JSON object with the fields of this request"}`},
		{"join too large", "POST", "/join", big, 413, `{"ok":false,"error":"payload too large"}`},
		{"join PUT", "PUT", "/join", "{}", 405, `{"ok":false,"error":"method not allowed"}`},

		{"claim not JSON", "POST", "/invites/abcdefghijklmnop/claim", `[`, 400, `{"ok":false,"error":"malformed","message":"the body must be one JSON object with the fields of this request"}`},
		{"claim too large", "POST", "/invites/abcdefghijklmnop/claim", big, 413, `{"ok":false,"error":"payload too large"}`},
		{"claim DELETE", "DELETE", "/invites/abcdefghijklmnop/claim", ``, 405, `{"ok":false,"error":"method not allowed"}`},

		{"create when off", "POST", "/meshes", `{}`, 403, `{"ok":false,"error":"forbidden","message":"creating meshes is switched off on this broker"}`},
		{"create at the size limit", "POST", "/meshes", full, 403, `{"ok":false,"error":"forbidden","message":"creating meshes is switched off on this broker"}`},
		{"create too large", "POST", "/meshes", full + " ", 413, `{"ok":false,"error":"payload too large"}`},
		{"create GET", "GET", "/meshes", ``, 405, `{"ok":false,"error":"method not allowed"}`},

		{"invite POST", "POST", "/i/abcdefghijklmnop", ``, 405, `{"ok":false,"error":"method not allowed"}`},
		{"socket POST", "POST", "/ws", ``, 405, `{"ok":false,"error":"method not allowed"}`},
		{"socket HEAD", "HEAD", "/ws", ``, 405, ``},
		{"socket without upgrade", "GET", "/ws", ``, 426, `{"ok":false,"error":"upgrade required","message":"this is a WebSocket endpoint: upgrade over HTTP/1.1"}`},

		{"other path", "GET", "/", ``, 418, "next handler"},
		{"below a route", "GET", "/health/ready/x", ``, 418, "next handler"},
		{"trailing slash", "POST", "/join/", `{}`, 418, "next handler"},
		{"invite without code", "GET", "/i/", ``, 418, "next handler"},
		{"invite below", "GET", "/i/a/b", ``, 418, "next handler"},
		{"claim without code", "POST", "/invites//claim", `{}`, 418, "next handler"},
		{"invites", "POST", "/invites/abc", `{}`, 418, "next handler"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, body := s.do(test.method, test.path, test.body)
			if response.StatusCode != test.status || body != test.want {
				t.Errorf("%d %s\nwant %d %s", response.StatusCode, body, test.status, test.want)
			}
			if test.status == 405 && response.Header.Get("Allow") == "" {
				t.Errorf("the header Allow is missing")
			}
			if test.want != "" && test.status != 418 {
				if got := response.Header.Get("Content-Type"); got != "application/json" {
					t.Errorf("got Content-Type %q", got)
				}
				if got := response.Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("got Cache-Control %q", got)
				}
			}
		})
	}
}

// joinBody is well-formed, but its signature is invalid.
var joinBody = `{"invite_token":"dG9rZW4","invite_payload":{"v":1,"mesh_id":"` + strings.Repeat("a", 32) +
	`","mesh_slug":"team","broker_url":"ws://x/ws","expires_at":4102444800,"mesh_root_key":"` + strings.Repeat("A", 43) +
	`","role":"member","owner_pubkey":"` + strings.Repeat("ab", 32) + `","signature":"` + strings.Repeat("00", 64) +
	`"},"peer_pubkey":"` + strings.Repeat("cd", 32) + `","display_name":"bob"}`

func TestHealth(t *testing.T) {
	s := startServer(t)
	var health wire.Health
	var body string
	await.Until(t, "the storage is up", func() bool { // a slow disk may delay its first check
		response, text := s.do("GET", "/health", "")
		if err := json.Unmarshal([]byte(text), &health); err != nil {
			t.Fatal(err)
		}
		body = text
		return response.StatusCode == 200 && health.DB == "up"
	}, func() string { return body })
	if health.Status != "ok" || health.Version != Version() {
		t.Errorf("%s", body)
	}
}

func TestClaimUnknownInvite(t *testing.T) {
	s := startServer(t)
	response, body := s.do("POST", "/invites/abcdefghijklmnop/claim",
		`{"recipient_x25519_pubkey":"`+strings.Repeat("A", 43)+`"}`)
	var refusal wire.ErrorBody
	if err := json.Unmarshal([]byte(body), &refusal); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 404 || refusal.Error != "not_found" {
		t.Errorf("got status %d: %s", response.StatusCode, body)
	}
}

func TestForeignSitesAreRefused(t *testing.T) {
	s := startServer(t)
	for _, path := range []string{"/hook/set-status", "/join", "/meshes", "/invites/abcdefghijklmnop/claim"} {
		if response, body := s.do("POST", path, `{}`, "Origin", "https://evil.example"); response.StatusCode != 403 {
			t.Errorf("POST %s: %d %s", path, response.StatusCode, body)
		}
	}
	response, _ := s.do("GET", "/ws", "", "Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if response.StatusCode != 403 {
		t.Errorf("GET /ws: %d", response.StatusCode)
	}
}

func TestUpgradeRequired(t *testing.T) {
	s := startServer(t)
	response, _ := s.do("GET", "/ws", "")
	if response.StatusCode != 426 || response.Header.Get("Upgrade") != "websocket" {
		t.Errorf("got status %d, Upgrade %q", response.StatusCode, response.Header.Get("Upgrade"))
	}
}

func TestCreatePolicy(t *testing.T) {
	const allowed = ""
	token := []string{"create_meshes token {env.CLAUDEMESH_CREATE_TOKEN}"}
	t.Setenv("CLAUDEMESH_CREATE_TOKEN", "hunter2")
	tests := []struct {
		name    string
		options []string
		body    string
		header  []string
		refused string
	}{
		{"default is loopback", nil, `{}`, nil, allowed},
		{"open", []string{"create_meshes open"}, `{}`, []string{"X-Forwarded-For", "192.0.2.1"}, allowed},
		{"loopback", []string{"create_meshes loopback"}, `{}`, nil, allowed},
		{"loopback behind a proxy", nil, `{}`, []string{"X-Forwarded-For", "127.0.0.1"}, "own machine"},
		{"loopback behind a proxy with Forwarded", nil, `{}`, []string{"Forwarded", "for=192.0.2.1"}, "own machine"},
		{"off", []string{"create_meshes off"}, `{}`, nil, "switched off"},
		{"token", token, `{"token":"hunter2"}`, nil, allowed},
		{"no token", token, `{}`, nil, "operator's token"},
		{"wrong token", token, `{"token":"hunter"}`, nil, "operator's token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t, test.options...)
			response, body := s.do("POST", "/meshes", test.body, test.header...)
			if test.refused == allowed {
				// The broker reads the request and finds no signature.
				if response.StatusCode != 400 || !strings.Contains(body, `"error":"malformed"`) {
					t.Errorf("got status %d: %s", response.StatusCode, body)
				}
			} else if response.StatusCode != 403 || !strings.Contains(body, test.refused) {
				t.Errorf("%d %s, want 403 about %q", response.StatusCode, body, test.refused)
			}
			if strings.Contains(body, "hunter") {
				t.Errorf("the answer shows the token: %s", body)
			}
		})
	}
}

func TestFromThisMachine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		remote, client, host string
		header               string
		want                 bool
	}{
		{"127.0.0.1:5000", "127.0.0.1", "127.0.0.1:7900", "User-Agent", true},
		{"[::1]:5000", "::1", "[::1]:7900", "Content-Type", true},
		{"[::ffff:127.0.0.1]:5000", "127.0.0.1", "localhost", "Accept-Language", true},
		{"127.0.0.1:5000", "192.0.2.1", "localhost", "", false},
		{"192.0.2.1:5000", "127.0.0.1", "localhost", "", false},
		{"192.0.2.1:5000", "192.0.2.1", "localhost", "", false},
		{"@", "", "localhost", "", false},
		{"127.0.0.1:5000", "127.0.0.1", "mesh.example.com", "", false},
		{"127.0.0.1:5000", "127.0.0.1", "", "", false},
	}
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Via",
		"Cf-Connecting-Ip", "Cf-Ray", "Cdn-Loop", "True-Client-Ip", "Fastly-Client-Ip", "Fly-Client-Ip", "X-Amzn-Trace-Id", "X-Scheme"} {
		tests = append(tests, tests[0])
		tests[len(tests)-1].header, tests[len(tests)-1].want = header, false
	}
	for _, test := range tests {
		r := httptest.NewRequest(http.MethodPost, "/meshes", nil)
		r.RemoteAddr, r.Host = test.remote, test.host
		if test.header != "" {
			r.Header.Set(test.header, "x")
		}
		vars := map[string]any{caddyhttp.ClientIPVarKey: test.client}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
		if got := fromThisMachine(r); (got == "") != test.want {
			t.Errorf("%+v: %q", test, got)
		}
		if r.ProtoMinor = 0; fromThisMachine(r) == "" {
			t.Errorf("%+v over HTTP/1.0 counts as a request from this machine", test)
		}
	}
}

// TestSlowBody checks that the broker gives up on a body that never ends, on every path,
// whether a handler reads the body or not.
func TestSlowBody(t *testing.T) {
	s := startServer(t, "hello_timeout 1s")
	if err := s.loadSite("claudemesh {\nhello_timeout 1s\nstorage sqlite " + s.db("mesh.db") + "\n}"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/join": "408", "/meshes": "408", "/hook/set-status": "408", "/invites/abcdefghijklmnop/claim": "408",
		"/health": "405", "/ws": "405", "/nothing": "404",
	} {
		answer, err := s.trickle(path)
		for range 4 {
			if answer != "" || errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			// Caddy may close a connection without an answer, or reset it, during a reload.
			answer, err = s.trickle(path)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(answer, "HTTP/1.1 "+want) {
			t.Errorf("%s: %v, %.200s", path, err, answer)
		}
	}
}

// trickle posts a body one byte at a time until the server closes the connection, and
// returns the server's answer.
func (s *testServer) trickle(path string) (string, error) {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\n{", path, s.addr)
	trickle, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		pace := time.NewTicker(100 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-pace.C:
			case <-trickle.Done():
				return
			}
			if _, err := conn.Write([]byte(" ")); err != nil {
				return
			}
		}
	}()
	if err := conn.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// TestNothingElseAnswers checks that if the site has no other handler, the broker answers
// on every path.
func TestNothingElseAnswers(t *testing.T) {
	s := startServer(t)
	if err := s.loadSite("claudemesh {\nstorage sqlite " + s.db("mesh.db") + "\n}"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/nothing/here", "/join/", "/i/", "/favicon.ico"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			response, body := s.do(method, path, "")
			if response.StatusCode != 404 || !strings.HasPrefix(body, `{"ok":false,"error":"not found"`) ||
				response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %s", method, path, response.StatusCode, body)
			}
		}
	}
}
