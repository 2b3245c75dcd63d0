package broker

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/zap/zaptest"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

// elsewhere routes every socket to another node, after it has called before.
type elsewhere struct {
	Router
	before func()
	got    chan []byte // what the other node gets first
	socket net.Conn
}

func (e *elsewhere) Route(context.Context, wire.ID, netip.Addr) (func(net.Conn, []byte), error) {
	e.before()
	return func(socket net.Conn, early []byte) {
		_ = socket.Close()
		e.socket = socket
		e.got <- early
	}, nil
}

// recorder wraps a response, and its connection, as Caddy does for the access log.
type recorder struct{ http.ResponseWriter }

func (r recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := r.ResponseWriter.(http.Hijacker).Hijack()
	return struct {
		net.Conn
		recorder
	}{conn, r}, rw, err
}

// TestHandsOver checks that the other node gets a connection that keeps nothing of the request, and
// that the connection counts as an arrival.
func TestHandsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	router := &elsewhere{got: make(chan []byte, 1), before: func() {}}
	b := New(Options{Settings: DefaultSettings(), Storage: &kept{}, Router: router, Log: zaptest.NewLogger(t)})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.ServeWebSocket(recorder{w}, r, netip.Addr{}); err != nil {
			t.Error(err)
		}
	}))
	defer web.Close()
	ws, _, err := websocket.Dial(ctx, web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	hello := `{"type":"hello","meshId":"` + loadedMesh.String() + `"}`
	if err := ws.Write(ctx, websocket.MessageText, []byte(hello)); err != nil {
		t.Fatal(err)
	}
	if early := <-router.got; !bytes.HasSuffix(early, []byte(hello)) {
		t.Errorf("the other node got %q", early)
	}
	if _, bare := router.socket.(*net.TCPConn); !bare {
		t.Errorf("the other node got a %T", router.socket)
	}
	b.wait.Wait()
	if n := b.stats.arrivals(); n != 1 {
		t.Errorf("%d connections have arrived, want 1", n)
	}
}

// TestEndsWhileItIsRouted checks that a connection that the broker ends while it looks for the node
// of the mesh ends for its reason, and that the other node gets no hello of it.
func TestEndsWhileItIsRouted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	router := &elsewhere{got: make(chan []byte, 1)}
	b := New(Options{Settings: DefaultSettings(), Storage: &kept{}, Router: router, Log: zaptest.NewLogger(t)})
	router.before = func() { closeAll(canceled(), b.allConns(), endShutdown) }
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.ServeWebSocket(w, r, netip.Addr{}); err != nil {
			t.Error(err)
		}
	}))
	defer web.Close()
	ws, _, err := websocket.Dial(ctx, web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"type":"hello","meshId":"`+loadedMesh.String()+`"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err = ws.Read(ctx); err == nil {
		t.Fatal("the client got a frame")
	}
	if early := <-router.got; len(early) > 0 {
		t.Errorf("the other node got %q of a connection that has ended", early)
	}
	b.wait.Wait()
	if ended := b.stats.ended.counts(); ended["shutdown"] != 1 {
		t.Errorf("connections ended like this: %v; want one by the shutdown", ended)
	}
}

// canceled returns a context that has ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
