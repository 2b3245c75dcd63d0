package broker_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

// TestStopDuringUpgrade checks that a client that connects while the broker stops is told
// that the broker restarts, like all others.
func TestStopDuringUpgrade(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stopping := hijacker{w, func() {
			if err := s.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}}
		if err := s.ServeWebSocket(stopping, r, netip.MustParseAddrPort(r.RemoteAddr).Addr()); err != nil {
			t.Error(err)
		}
	}))
	defer late.Close()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, strings.Replace(late.URL, "http", "ws", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	_, _, err = ws.Read(ctx)
	if code := websocket.CloseStatus(err); code != wire.CloseRestart {
		t.Errorf("closed with %v, want code %d", err, wire.CloseRestart)
	}
}

// hijacker calls before, and then hijacks the connection.
type hijacker struct {
	http.ResponseWriter
	before func()
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.before()
	return h.ResponseWriter.(http.Hijacker).Hijack()
}
