package relay

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/wire"
)

// TestServesBench runs the broker's load: every message must arrive unchanged, once and in order,
// and must be acknowledged.
func TestServesBench(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(new(Server))
	t.Cleanup(server.Close)
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	var ids wire.IDSource
	m := peer.Mesh{
		MeshID: ids.New(time.Now()).String(), MemberID: ids.New(time.Now()).String(), Slug: "bench", Name: "bench",
		Member: key, BrokerURL: "ws" + strings.TrimPrefix(server.URL, "http") + "/ws",
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	settings := bench.Defaults(bench.Throughput)
	settings.Pairs, settings.Window, settings.Messages, settings.Duration = 3, 4, 60, 0
	settings.Crypto = true // so that the recipient opens and compares each message
	r, err := bench.Run(ctx, bench.Throughput, bench.Config{Mesh: m}, settings)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"sent": 60, "acknowledged": 60, "delivered": 60, "lost": 0, "duplicated": 0, "out_of_order": 0, "not_intact": 0,
	} {
		if got, ok := r.Value(name); !ok || got != want {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
}

// TestPushIsAsLongAsTheBrokers checks that the relay's pushes have the size of the broker's.
func TestPushIsAsLongAsTheBrokers(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("0", 32)
	word := wire.Attestation{SessionPubkey: strings.Repeat("a", 64), ParentMemberPubkey: strings.Repeat("b", 64), ExpiresAt: 1, Signature: strings.Repeat("c", 128)}
	c := &conn{hello: hello{SessionKey: wire.Key{1}, Name: "bench", Attestation: &word}}
	c.prepare([]byte(`{"type":"send","id":"` + zeros + `","client_message_id":"` + zeros + `","nonce":"bm9uY2U=","ciphertext":"Ym9keQ=="}`))
	want := wire.Push{
		MessageID: zeros, SenderPubkey: wire.Key{1}, SenderName: "bench", Priority: wire.Next, Nonce: "bm9uY2U=", Ciphertext: "Ym9keQ==",
		CreatedAt: time.Now(), ClientID: zeros, SenderAttestation: &word,
	}
	if got, want := len(c.push.frame), len(want.AppendJSON(nil)); got != want {
		t.Errorf("a push has %d bytes, the broker's %d", got, want)
	}
	if _, err := wire.ParseFrame(c.push.frame); err != nil {
		t.Errorf("a push isn't a frame: %v", err)
	}
}
