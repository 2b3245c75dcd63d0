package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/bench/relay"
	"github.com/claudemesh/claudemesh/wire"
)

// TestRelaySendsTheBrokersFrames checks that ceiling W writes frames of the same sizes as the broker.
func TestRelaySendsTheBrokersFrames(t *testing.T) {
	t.Parallel()
	b := brokertest.Start(t)
	r := httptest.NewServer(new(relay.Server))
	t.Cleanup(r.Close)
	owner, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	made, err := peer.HTTP{BrokerURL: b.URL()}.CreateMesh(t.Context(), owner, "bench", "bench", "bench", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := peer.Mesh{MeshID: made.MeshID.String(), MemberID: made.MemberID.String(), Member: owner}
	push, ack := exchange(t, b.URL(), &m)
	relayedPush, relayedAck := exchange(t, "ws"+strings.TrimPrefix(r.URL, "http")+"/ws", &m)
	if len(push) != len(relayedPush) || len(ack) != len(relayedAck) {
		t.Errorf("the broker's frames are\n%s\n%s\nand the relay's\n%s\n%s", push, ack, relayedPush, relayedAck)
	}
}

// exchange sends a message between two sessions of a member and returns what the server writes.
func exchange(t *testing.T, url string, m *peer.Mesh) (push, ack string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	connect := func() (ws *websocket.Conn, target string) {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		hello, err := sessionHello(m, key)
		if err != nil {
			t.Fatal(err)
		}
		//nolint:bodyclose // the response's body belongs to the library, which says not to close it
		ws, _, err = websocket.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ws.CloseNow() })
		// The relay recognizes a frame by its beginning.
		const kind = `"type":"session_hello"`
		write(ctx, t, ws, "{"+kind+","+strings.TrimPrefix(strings.Replace(string(hello), ","+kind, "", 1), "{"))
		readUntil(ctx, t, ws, wire.TypeHelloAck)
		return ws, key.Public().String()
	}
	to, target := connect()
	from, _ := connect()
	id := strings.Repeat("a1", 16)
	write(ctx, t, from, fmt.Sprintf(`{"type":"send","id":%q,"client_message_id":%[1]q,"targetSpec":%q,"priority":"next","nonce":%q,"ciphertext":%q}`,
		id, target, strings.Repeat("A", 32), strings.Repeat("B", 1388)))
	return readUntil(ctx, t, to, wire.TypePush), readUntil(ctx, t, from, wire.TypeAck)
}

func write(ctx context.Context, t *testing.T, ws *websocket.Conn, frame string) {
	t.Helper()
	if err := ws.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
}

// readUntil reads frames until one of a type, other than a system push.
func readUntil(ctx context.Context, t *testing.T, ws *websocket.Conn, kind string) string {
	t.Helper()
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			t.Fatalf("wait for %s: %v", kind, err)
		}
		frame, err := wire.ParseFrame(data)
		switch {
		case err != nil || frame.Type == wire.TypeError:
			t.Fatalf("got %s, %v", data, err)
		case frame.Type == kind && (kind != wire.TypePush || frame.Subtype() != wire.SubtypeSystem):
			return string(data)
		}
	}
}
