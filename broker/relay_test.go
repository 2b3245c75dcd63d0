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

// newRouted makes a broker whose sockets go to another node.
func newRouted(t *testing.T, router *elsewhere) *Broker {
	t.Helper()
	router.got = make(chan []byte, 1)
	return New(Options{Settings: DefaultSettings(), Storage: &kept{}, Router: router, Log: zaptest.NewLogger(t)})
}

// greetBroker connects a client to a broker and sends a hello.
func greetBroker(ctx context.Context, t *testing.T, b *Broker) (client *websocket.Conn, hello []byte) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := b.ServeWebSocket(recorder{w}, r, netip.Addr{}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(web.Close)
	client, _, err := websocket.Dial(ctx, web.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.CloseNow() })
	hello = []byte(`{"type":"hello","meshId":"` + loadedMesh.String() + `"}`)
	if err := client.Write(ctx, websocket.MessageText, hello); err != nil {
		t.Fatal(err)
	}
	return client, hello
}

// TestHandsOver checks that the other node gets a connection that keeps nothing of the request, and
// that the connection counts as an arrival.
func TestHandsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	router := &elsewhere{before: func() {}}
	b := newRouted(t, router)
	_, hello := greetBroker(ctx, t, b)
	if early := <-router.got; !bytes.HasSuffix(early, hello) {
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
	router := new(elsewhere)
	b := newRouted(t, router)
	router.before = func() { closeAll(canceled(), b.allConns(), endShutdown) }
	client, _ := greetBroker(ctx, t, b)
	if _, _, err := client.Read(ctx); err == nil {
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
