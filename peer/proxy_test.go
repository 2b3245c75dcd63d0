package peer

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
)

// proxyServer is a proxy that only makes tunnels. Every name leads to target.
type proxyServer struct {
	target  string
	auth    string // the credentials that it requires; "" for none
	tunnels atomic.Int64
	others  atomic.Int64
}

func (p *proxyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		p.others.Add(1)
		http.Error(w, "tunnels only", http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Proxy-Authorization") != p.auth {
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	p.tunnels.Add(1)
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
	splice(down, up)
}

func splice(a, b net.Conn) {
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} }()
	}
	<-done
}

// echo is a WebSocket server that sends one message.
func echo(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	_ = ws.Write(r.Context(), websocket.MessageText, []byte("hello"))
	_ = ws.Close(websocket.StatusNormalClosure, "")
}

func TestProxies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	target := server.Listener.Addr().String()

	credentials := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:it's secret"))
	open, closed := &proxyServer{target: target}, &proxyServer{target: target, auth: credentials}
	openServer, closedServer := httptest.NewServer(open), httptest.NewServer(closed)
	defer openServer.Close()
	defer closedServer.Close()
	withUser := strings.Replace(closedServer.URL, "http://", "http://me:it%27s%20secret@", 1)
	socks := startSocks(t, target)

	for _, tc := range []struct {
		name string
		env  map[string]string
		fail string // what the error says; "" for none
		took func() int64
	}{
		{"HTTP_PROXY", map[string]string{"HTTP_PROXY": openServer.URL}, "", open.tunnels.Load},
		{"http_proxy", map[string]string{"http_proxy": openServer.URL}, "", open.tunnels.Load},
		{"without a scheme", map[string]string{"HTTP_PROXY": strings.TrimPrefix(openServer.URL, "http://")}, "", open.tunnels.Load},
		{"ALL_PROXY", map[string]string{"ALL_PROXY": openServer.URL}, "", open.tunnels.Load},
		{"credentials", map[string]string{"HTTP_PROXY": withUser}, "", closed.tunnels.Load},
		{"no credentials", map[string]string{"HTTP_PROXY": closedServer.URL}, "407", nil},
		{"SOCKS", map[string]string{"ALL_PROXY": "socks5://" + socks.addr}, "", socks.tunnels.Load},
		{"SOCKS that resolves names", map[string]string{"ALL_PROXY": "socks5h://" + socks.addr}, "", socks.tunnels.Load},
		{"nobody there", map[string]string{"HTTP_PROXY": "http://127.0.0.1:1"}, "proxy", nil},
		{"HTTPS_PROXY is not for ws", map[string]string{"HTTPS_PROXY": openServer.URL}, "no such host", nil},
		{"NO_PROXY", map[string]string{"HTTP_PROXY": openServer.URL, "NO_PROXY": "broker.invalid"}, "no such host", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
				t.Setenv(name, "")
				t.Setenv(strings.ToLower(name), "")
			}
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			client := &http.Client{Transport: newProxied(proxyFromEnvironment())}
			ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
			defer cancel()
			var before int64
			if tc.took != nil {
				before = tc.took()
			}
			ws, _, err := websocket.Dial(ctx, "ws://broker.invalid/ws", &websocket.DialOptions{HTTPClient: client})
			if tc.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fail) {
					t.Fatalf("got %v, want %q in it", err, tc.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			if _, b, err := ws.Read(ctx); err != nil || string(b) != "hello" {
				t.Errorf("got %q, %v", b, err)
			}
			if n := tc.took() - before; n != 1 {
				t.Errorf("%d tunnels", n)
			}
		})
	}
	if n := open.others.Load() + closed.others.Load(); n != 0 {
		t.Errorf("%d requests were not CONNECT", n)
	}
}

// socksServer implements the part of SOCKS 5 (RFC 1928) that a client without credentials
// needs.
type socksServer struct {
	addr    string
	tunnels atomic.Int64
}

func startSocks(t *testing.T, target string) *socksServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &socksServer{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, target)
		}
	}()
	return s
}

func (s *socksServer) serve(conn net.Conn, target string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	head := make([]byte, 2)
	if _, err := io.ReadFull(in, head); err != nil {
		return
	}
	if _, err := in.Discard(int(head[1])); err != nil {
		return
	}
	_, _ = conn.Write([]byte{5, 0})
	request := make([]byte, 5) // version, CONNECT, 0, kind of address, its length
	if _, err := io.ReadFull(in, request); err != nil || request[3] != 3 {
		return // not a name
	}
	if _, err := in.Discard(int(request[4]) + 2); err != nil {
		return
	}
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	s.tunnels.Add(1)
	_, _ = conn.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 0})
	splice(conn, up)
}

func TestProxyAddr(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://proxy": "proxy:80", "https://proxy": "proxy:443", "http://proxy:3128": "proxy:3128", "http://[::1]": "[::1]:80",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := proxyAddr(u); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
