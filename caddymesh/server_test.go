package caddymesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
)

// A process can run only one Caddy, so the tests that run one aren't parallel.

// testServer is a Caddy in this process with one HTTP site on the loopback address.
type testServer struct {
	t    *testing.T
	addr string // host:port
	dir  string // the directory of its databases
}

// startServer starts Caddy with options for the claudemesh directive. Without a
// storage option the database is a new SQLite file.
func startServer(t *testing.T, options ...string) *testServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, addr: addr, dir: t.TempDir()}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := s.load(options...); err != nil {
		t.Fatal(err)
	}
	return s
}

// awaitReady waits until the broker says that it is ready, which a slow disk may delay.
func (s *testServer) awaitReady() {
	s.t.Helper()
	var answer string
	await.Until(s.t, "the broker is ready", func() bool {
		var response *http.Response
		response, answer = s.do("GET", "/health/ready", "")
		return response.StatusCode == http.StatusOK
	}, func() string { return answer })
}

// load replaces the config.
func (s *testServer) load(options ...string) error { return s.loadSite(s.directives(options...)) }

// directives returns the directives of a site with the broker.
func (s *testServer) directives(options ...string) string {
	joined := strings.Join(options, "\n")
	if !strings.Contains(joined, "storage ") {
		joined += "\nstorage sqlite " + s.db("mesh.db")
	}
	return "claudemesh {\n" + joined + "\n}\nrespond \"next handler\" 418"
}

// loadSite replaces the config with one whose site has these directives.
func (s *testServer) loadSite(directives string) error {
	adapted, err := s.adapt(directives)
	if err != nil {
		return err
	}
	return caddy.Load(adapted, true)
}

func (s *testServer) adapt(directives string) ([]byte, error) {
	config := fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %s
	log {
		output discard
	}
}
http://%s {
	bind 127.0.0.1
	%s
}`, s.db("caddy"), s.addr, directives)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	return adapted, err
}

func (s *testServer) db(name string) string { return filepath.Join(s.dir, name) }

// do sends a request and returns the answer and its body.
func (s *testServer) do(method, path, body string, header ...string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	for (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) && s.t.Context().Err() == nil {
		// A reload opens a new socket on the same address, resets the connections in the
		// backlog of the old one, and closes idle connections.
		r.Body = io.NopCloser(strings.NewReader(body))
		response, err = http.DefaultClient.Do(r)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, strings.TrimSuffix(string(b), "\n")
}

// dial opens a WebSocket.
func (s *testServer) dial() *websocket.Conn {
	s.t.Helper()
	ws, _, err := websocket.Dial(s.t.Context(), "ws://"+s.addr+"/ws", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ws.CloseNow() })
	return ws
}

// answers reports whether the broker still answers on a socket.
func (s *testServer) answers(ws *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), await.Patience)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"type":"list_peers","_reqId":"r1"}`)); err != nil {
		return err
	}
	_, message, err := ws.Read(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(string(message), "r1") {
		return fmt.Errorf("answer %s has no request id", message)
	}
	return nil
}

// closeCode waits until a socket is closed and returns the code.
func (s *testServer) closeCode(ws *websocket.Conn) websocket.StatusCode {
	ctx, cancel := context.WithTimeout(s.t.Context(), await.Patience)
	defer cancel()
	_, _, err := ws.Read(ctx)
	return websocket.CloseStatus(err)
}
