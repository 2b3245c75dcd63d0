package peer

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/wire"
)

// pipeListener passes net.Pipe connections to an HTTP server, so that a server and its
// clients can live in a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

var errRefused = errors.New("connection refused")

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// script handles one connection of a scripted broker. When it returns, the connection is
// closed without a close frame.
type script func(s *serverConn)

// scripted is a broker that runs one script for each connection, in order. It repeats the
// last script.
type scripted struct {
	t      testing.TB
	client *http.Client
	http   http.Handler // for other paths than /ws
	mute   bool         // pings get no pong

	mu      sync.Mutex
	scripts []script
	hellos  []wire.Frame
}

// newScripted starts a broker. The test must call stop at the end; in a synctest bubble,
// it must do so within the bubble.
func newScripted(t testing.TB, scripts ...script) (s *scripted, stop func()) {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	return serveScripted(t, l, l.dial, scripts...)
}

func serveScripted(t testing.TB, l net.Listener, dial func(context.Context, string, string) (net.Conn, error), scripts ...script) (s *scripted, stop func()) {
	transport := &http.Transport{DialContext: dial}
	s = &scripted{t: t, client: &http.Client{Transport: transport}, scripts: scripts}
	server := &http.Server{Handler: s}
	ended := make(chan struct{})
	go func() { defer close(ended); server.Serve(l) }()
	return s, func() {
		transport.CloseIdleConnections()
		server.Close()
		<-ended
	}
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/ws" && s.http != nil {
		s.http.ServeHTTP(w, r)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		OnPingReceived: func(context.Context, []byte) bool { return !s.mute },
	})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)
	s.mu.Lock()
	run := s.scripts[0]
	if len(s.scripts) > 1 {
		s.scripts = s.scripts[1:]
	}
	s.mu.Unlock()
	run(&serverConn{s: s, ws: ws})
}

// connects returns how many hellos arrived.
func (s *scripted) connects() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.hellos)
}

// serverConn is the broker's end of a connection.
type serverConn struct {
	s  *scripted
	ws *websocket.Conn
}

// next reads a frame. If the client is gone, ok is false.
func (c *serverConn) next() (f wire.Frame, ok bool) {
	_, b, err := c.ws.Read(context.Background())
	if err != nil {
		return f, false
	}
	f, err = wire.ParseFrame(b)
	if err != nil {
		c.s.t.Errorf("the client sent %q: %v", b, err)
	}
	return f, err == nil
}

func (c *serverConn) write(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.s.t.Errorf("encode: %v", err)
	}
	c.ws.Write(context.Background(), websocket.MessageText, b) // the client may be gone
}

func (c *serverConn) writePush(p *wire.Push) {
	c.ws.Write(context.Background(), websocket.MessageText, p.AppendJSON(nil))
}

func (c *serverConn) ack(id, messageID, refusal string) {
	a := wire.Ack{ID: id, MessageID: messageID, Queued: refusal == "", Error: refusal}
	c.ws.Write(context.Background(), websocket.MessageText, a.AppendJSON(nil))
}

// hello takes the hello and answers it.
func (c *serverConn) hello() (wire.Frame, bool) {
	f, ok := c.next()
	if !ok {
		return f, false
	}
	c.s.mu.Lock()
	c.s.hellos = append(c.s.hellos, f)
	c.s.mu.Unlock()
	c.write(wire.HelloAck{Type: wire.TypeHelloAck, MemberDisplayName: "me", MemberProfile: wire.MemberProfile{Groups: []wire.Group{}},
		Capabilities: []string{wire.CapSealedGroups}})
	return f, true
}

// nextOf reads until a frame of the given type arrives.
func (c *serverConn) nextOf(typ string) (wire.Frame, bool) {
	for {
		f, ok := c.next()
		if !ok || f.Type == typ {
			return f, ok
		}
	}
}

// frames reads frames until the client is gone.
func (c *serverConn) frames() iter.Seq[wire.Frame] {
	return func(yield func(wire.Frame) bool) {
		for f, ok := c.next(); ok && yield(f); f, ok = c.next() {
		}
	}
}

// framesOf reads frames until the client is gone, and returns those of the given type.
func (c *serverConn) framesOf(typ string) iter.Seq[wire.Frame] {
	return func(yield func(wire.Frame) bool) {
		for f, ok := c.nextOf(typ); ok && yield(f); f, ok = c.nextOf(typ) {
		}
	}
}

// drain reads until the client is gone.
func (c *serverConn) drain() {
	for range c.frames() {
	}
}

// idle accepts a client and then says nothing.
func idle(c *serverConn) {
	c.hello()
	c.drain()
}

var newKey = identitytest.Pair

// options returns the options of a client of the broker.
func (s *scripted) options() Options {
	return Options{
		Mesh: Mesh{
			MeshID: "019aab2b9fd77c3e8b1a000102030405", MemberID: "019aab2b9fd77c3e8b1a000102030406", Slug: "team",
			Member: newKey(s.t), BrokerURL: "ws://broker/ws", Key: envelope.NewMeshKey(),
		},
		HTTPClient: s.client,
	}
}

// dialed returns a connected client of the broker.
func (s *scripted) dialed(o Options) *Client {
	s.t.Helper()
	c, err := Dial(context.Background(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}
