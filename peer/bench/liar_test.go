package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// liar is a faulty broker. It acknowledges every message, but applies misdeed to the tenth one
// of each recipient.
type liar struct {
	misdeed string
	t       testing.TB

	mu     sync.Mutex
	conns  map[wire.Key]*websocket.Conn
	counts map[wire.Key]int
	kept   []byte

	outsider wire.Key // a session that may not come back
}

// startLiar starts a liar and returns credentials for it. It accepts any.
func startLiar(t *testing.T, misdeed string) peer.Mesh {
	t.Helper()
	l := &liar{misdeed: misdeed, t: t, conns: make(map[wire.Key]*websocket.Conn), counts: make(map[wire.Key]int)}
	server := httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return peer.Mesh{
		MeshID: wire.ID{1}.String(), MemberID: wire.ID{2}.String(), Member: pair(t), Key: envelope.NewMeshKey(),
		BrokerURL: "ws" + strings.TrimPrefix(server.URL, "http") + "/ws",
	}
}

func (l *liar) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ws" {
		http.NotFound(w, r)
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	var own wire.Key
	for {
		_, data, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		frame, err := wire.ParseFrame(data)
		if err != nil {
			l.t.Error(err)
			return
		}
		switch frame.Type {
		case wire.TypeSessionHello:
			if own, err = wire.ParseKey(wire.DecodeSessionHello(&frame).SessionPubkey); err != nil {
				l.t.Error(err)
			}
			l.mu.Lock()
			keepOut := l.misdeed == "keep one out" && l.conns[own] != nil && (l.outsider.IsZero() || l.outsider == own)
			if keepOut {
				l.outsider = own
			}
			l.conns[own] = ws
			l.mu.Unlock()
			if keepOut {
				return
			}
			l.write(ws, `{"type":"hello_ack"}`)
		case wire.TypeSend:
			m, err := wire.DecodeSend(&frame)
			if err != nil {
				l.t.Error(err)
				return
			}
			l.deliver(ws, own, &m)
		}
	}
}

func (l *liar) write(ws *websocket.Conn, text string) {
	_ = ws.Write(l.t.Context(), websocket.MessageText, []byte(text))
}

func (l *liar) deliver(from *websocket.Conn, sender wire.Key, m *wire.Send) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := m.Targets[0].Key
	l.counts[to]++
	n := l.counts[to]
	chosen := n == 10
	if chosen && l.misdeed == "no room" {
		l.write(from, fmt.Sprintf(`{"type":"ack","id":%q,"messageId":"","queued":false,"error":"queue_full: no room"}`, m.ID))
		return
	}
	if !chosen || l.misdeed != "never answer" {
		l.write(from, fmt.Sprintf(`{"type":"ack","id":%q,"messageId":"m","queued":true}`, m.ID))
	}
	p := wire.Push{
		MessageID: fmt.Sprintf("%s-%d", to.Short(), n), SenderPubkey: sender, Priority: m.Priority,
		Nonce: m.Nonce, Ciphertext: m.Ciphertext, ClientID: m.ClientID, CreatedAt: time.Now(),
	}
	if chosen && l.misdeed == "change" {
		p.Nonce = strings.Repeat("A", len(p.Nonce))
	}
	frame := p.AppendJSON(nil)
	send := func(to *websocket.Conn, frame []byte) { l.write(to, string(frame)) }
	switch {
	case chosen && l.misdeed == "lose":
	case chosen && l.misdeed == "repeat":
		send(l.conns[to], frame)
		send(l.conns[to], frame)
	case chosen && l.misdeed == "double":
		send(l.conns[to], frame)
		p.MessageID = "another"
		send(l.conns[to], p.AppendJSON(nil))
	case chosen && l.misdeed == "delay":
		l.kept = frame
	case chosen && l.misdeed == "misdirect":
		for key, other := range l.conns {
			if key != to {
				send(other, frame)
				break
			}
		}
	default:
		send(l.conns[to], frame)
		if l.kept != nil && n == 11 {
			send(l.conns[to], l.kept)
		}
	}
}

// TestFaultyBrokersAreDetected checks that every broken promise shows in its figure, and a
// kept promise shows in none.
func TestFaultyBrokersAreDetected(t *testing.T) {
	t.Parallel()
	for misdeed, want := range map[string]struct {
		failed []string
		figure string
	}{
		"none":         {nil, ""},
		"repeat":       {nil, "redelivered"},
		"lose":         {[]string{figureLost}, figureLost},
		"double":       {[]string{figureDuplicated}, figureDuplicated},
		"delay":        {[]string{figureMisordered}, figureMisordered},
		"misdirect":    {[]string{figureLost, figureMisled}, figureMisled},
		"change":       {[]string{figureSpoiled}, figureSpoiled},
		"never answer": {[]string{figureUnanswered}, figureUnanswered},
	} {
		t.Run(misdeed, func(t *testing.T) {
			t.Parallel()
			s := Settings{Pairs: 1, Window: 4, Size: 64, Messages: 40, Crypto: misdeed == "change", Timeout: Duration(patience)}
			if slices.Contains([]string{"lose", "misdirect", "never answer"}, misdeed) {
				s.Timeout = Duration(5 * time.Second) // one message is never settled; all others must be by then
			}
			r, err := Run(t.Context(), Throughput, Config{Mesh: startLiar(t, misdeed)}, s)
			if err != nil {
				t.Fatal(err)
			}
			if failed := r.Failed(); !slices.Equal(failed, want.failed) {
				t.Errorf("found %v, want %v: %+v", failed, want.failed, r)
			}
			if want.figure != "" && value(t, r, want.figure) != 1 {
				t.Errorf("%s is %v", want.figure, value(t, r, want.figure))
			}
			if sent := value(t, r, "sent"); sent != 40 {
				t.Errorf("%v were sent", sent)
			}
		})
	}
}

// TestStormWithoutAll checks that the time until all sessions are back is unknown if one of them
// isn't.
func TestStormWithoutAll(t *testing.T) {
	t.Parallel()
	s := Settings{Sessions: 4, Pairs: 1, Rate: 10, Size: 10, Timeout: Duration(3 * time.Second)}
	r, err := Run(t.Context(), Storm, Config{Mesh: startLiar(t, "keep one out")}, s)
	if err != nil {
		t.Fatal(err)
	}
	if took, known := r.Value("seconds"); known || value(t, r, "back") > 3 {
		t.Errorf("%v of 4 are back, in %v s: %+v", value(t, r, "back"), took, r)
	}
}

// TestBrokerThatNoLongerReads checks that a run ends even if the broker stops reading.
func TestBrokerThatNoLongerReads(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		if _, _, err := ws.Read(r.Context()); err != nil {
			return
		}
		_ = ws.Write(r.Context(), websocket.MessageText, []byte(`{"type":"hello_ack"}`))
		<-t.Context().Done()
	}))
	t.Cleanup(server.Close)
	m := peer.Mesh{
		MeshID: wire.ID{1}.String(), MemberID: wire.ID{2}.String(), Member: pair(t),
		BrokerURL: "ws" + strings.TrimPrefix(server.URL, "http"),
	}
	s := Settings{Peers: 2, Messages: 100, Size: 1 << 20, Timeout: Duration(time.Second / 2)}
	start := time.Now()
	r, err := Run(t.Context(), Burst, Config{Mesh: m}, s)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > patience || value(t, r, figureUnanswered) == 0 || len(r.Notes) == 0 {
		t.Errorf("it took %v: %+v", took, r)
	}
}
