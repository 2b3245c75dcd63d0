package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for an event.
const patience = time.Minute

// table stands for the database: the nodes and the owners of meshes, in memory.
type table struct {
	mu      sync.Mutex
	nodes   []Node
	owners  map[wire.ID]int64
	stale   map[int64]Node // owners of the past, which a node remembers until it is told to forget
	changed chan struct{}

	addresses map[int64]string // of nodes, as only the others see them
	patience  time.Duration    // of the nodes that start, see judge; 0: the usual
}

func newTable() *table {
	return &table{owners: make(map[wire.ID]int64), stale: make(map[int64]Node), changed: make(chan struct{}), addresses: make(map[int64]string)}
}

func (t *table) change(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	do()
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *table) own(mesh wire.ID, node int64) { t.change(func() { t.owners[mesh] = node }) }

// view is the table as one node sees it.
type view struct {
	*table
	self int64
}

func (v view) Self() (int64, bool) { return v.self, true }

func (v view) Owner(_ context.Context, mesh wire.ID) (Node, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n, ok := v.stale[v.self]; ok {
		return n, false, nil
	}
	for _, n := range v.nodes {
		if n.ID == v.owners[mesh] {
			return n, n.ID == v.self, nil
		}
	}
	return Node{}, false, ErrNoOwner
}

func (v view) Elsewhere(is bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.nodes {
		if v.nodes[i].ID == v.self {
			v.nodes[i].Elsewhere = is
		}
	}
}

func (v view) Forget(wire.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.stale, v.self)
}

func (v view) Nodes(context.Context) ([]Node, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := slices.Clone(v.nodes)
	for i, n := range list {
		if n.ID != v.self {
			list[i].Address = cmp.Or(v.addresses[n.ID], n.Address)
		}
	}
	return list, nil
}

func (v view) Watch() <-chan struct{} {
	time.AfterFunc(lookAgain, func() { v.change(func() {}) })
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// served is a socket that a node serves for another one.
type served struct {
	net.Conn
	leave  context.Context
	client netip.Addr
}

// node is one node of a test.
type node struct {
	*Relay
	Node
	accepted chan served
	handler  http.HandlerFunc // of forwarded requests; nil: echo
	logs     *observer.ObservedLogs
}

func (n *node) ServeRelayed(leave context.Context, socket net.Conn, client netip.Addr, taken func() error) error {
	if err := taken(); err != nil {
		return err
	}
	n.accepted <- served{socket, leave, client}
	return nil
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n.handler != nil {
		n.handler(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprintf(w, "%s %s from %s: %s", r.Method, r.URL.Path, Client(r.Context()), body)
}

// start starts a node; advertise changes the address that it advertises.
func (t *table) start(tb testing.TB, advertise func(string) string) *node {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	address := listener.Addr().String()
	if advertise != nil {
		address = advertise(address)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	n := &node{
		Node:     Node{ID: rand.Int64(), Address: address, PublicKey: key.Public(), Live: true},
		accepted: make(chan served, 4096), logs: logs,
	}
	t.change(func() { t.nodes = append(t.nodes, n.Node) })
	n.Relay = NewRelay(key, view{t, n.ID}, zap.New(zapcore.NewTee(core, zaptest.NewLogger(tb, zaptest.Level(zapcore.WarnLevel)).Core())))
	if t.patience > 0 {
		n.judge.patience = t.patience
	}
	n.Serve(listener, n, n)
	tb.Cleanup(n.Close)
	return n
}

// connect makes a client of a node, with a socket that the node relays to the owner of a mesh.
func (n *node) connect(tb testing.TB, mesh wire.ID, early string) net.Conn {
	tb.Helper()
	near, far := tcpPair(tb)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	take, err := n.Route(ctx, mesh, netip.MustParseAddr("192.0.2.7"))
	if err != nil {
		tb.Fatal(err)
	}
	take(far, []byte(early))
	return near
}

func tcpPair(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = near.Close() })
	_ = near.(*net.TCPConn).SetReadBuffer(16 << 10) // a peer that does not read is soon noticed
	_ = far.(*net.TCPConn).SetWriteBuffer(16 << 10)
	return near, far
}

func (n *node) next(tb testing.TB) served {
	tb.Helper()
	select {
	case s := <-n.accepted:
		tb.Cleanup(func() { _ = s.Close() })
		return s
	case <-time.After(patience):
		tb.Fatal("no socket arrived")
		panic("unreachable")
	}
}

// pair connects a client, and returns it with the socket that the owner serves for it. On a busy
// machine, the edge may have given up an attempt, whose socket ends at once.
func pair(tb testing.TB, edge, owner *node, mesh wire.ID, number int) (client net.Conn, socket served) {
	tb.Helper()
	token := fmt.Sprintf("client %04d", number)
	client = edge.connect(tb, mesh, token)
	for {
		socket = owner.next(tb)
		got := make([]byte, len(token))
		if _, err := io.ReadFull(socket, got); err == nil && string(got) == token {
			return client, socket
		}
	}
}

func expect(tb testing.TB, r io.Reader, want string) {
	tb.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		tb.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func send(tb testing.TB, w io.Writer, text string) {
	tb.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		tb.Fatal(err)
	}
}

// expectEnd reads until the connection ends.
func expectEnd(tb testing.TB, conn net.Conn) {
	tb.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, conn)
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		tb.Fatal("the connection goes on")
	}
}

func (n *node) await(tb testing.TB, what string) {
	tb.Helper()
	await.Until(tb, fmt.Sprintf("somebody has logged %q", what), func() bool {
		return slices.ContainsFunc(n.logs.All(), func(e observer.LoggedEntry) bool {
			text := e.Message
			for _, f := range e.Context {
				if f.Key == "error" {
					text += ": " + f.Interface.(error).Error()
				}
			}
			return strings.Contains(text, what)
		})
	})
}

func TestRelay(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)

	client := edge.connect(t, mesh, "hello ")
	socket := owner.next(t)
	if socket.client != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("the owner sees the client %s", socket.client)
	}
	send(t, client, "world")
	expect(t, socket, "hello world")
	send(t, socket, "answer")
	expect(t, client, "answer")

	large := strings.Repeat("0123456789", 100_000)
	go func() { _, _ = io.WriteString(client, large) }()
	expect(t, socket, large)
	go func() { _, _ = io.WriteString(socket, large) }()
	expect(t, client, large)

	t.Run("the owner's last bytes arrive, then the end", func(t *testing.T) {
		send(t, socket, "bye")
		_ = socket.Close()
		expect(t, client, "bye")
		expectEnd(t, client)
	})
	t.Run("the client's end reaches the owner", func(t *testing.T) {
		client := edge.connect(t, mesh, "")
		socket := owner.next(t)
		_ = client.Close()
		expectEnd(t, socket)
	})
	t.Run("the owner itself relays nothing", func(t *testing.T) {
		take, err := owner.Route(context.Background(), mesh, netip.Addr{})
		if take != nil || err != nil {
			t.Errorf("Route: %v, %v", take != nil, err)
		}
	})
}

// TestPieces checks that bytes of any number arrive in both directions, whether they fill the
// buffers of a splice or not, and in order.
func TestPieces(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := edge.connect(t, mesh, strings.Repeat("e", idleBuffer))
	socket := owner.next(t)
	expect(t, socket, strings.Repeat("e", idleBuffer))
	for round := range 3 {
		for _, size := range []int{1, idleBuffer - 1, idleBuffer, idleBuffer + 1, busyBuffer, busyBuffer + idleBuffer, 2} {
			text := strings.Repeat(fmt.Sprintf("%d %d ", round, size), size)[:size]
			send(t, client, text)
			expect(t, socket, text)
			send(t, socket, text)
			expect(t, client, text)
		}
	}
}

// TestIdleSocketGivesBack checks that a splice gives back what it has borrowed for many bytes, and
// that it goes on.
func TestIdleSocketGivesBack(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := edge.connect(t, mesh, "")
	socket := owner.next(t)
	large := strings.Repeat("x", busyBuffer)
	go func() { _, _ = io.WriteString(client, large) }()
	expect(t, socket, large)
	send(t, socket, "answer")
	expect(t, client, "answer")
	await.Until(t, "both directions wait", func() bool {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "(*splice).up(") && !strings.Contains(text, "(*splice).upMore(") &&
			strings.Contains(text, "(*splice).awaitClient(") && strings.Contains(text, "(*splice).awaitOwner(")
	})
	send(t, client, "still here")
	expect(t, socket, "still here")
}

// TestSlowClientStallsNobody checks that a client that does not read fills only its own window, and
// that nobody waits for it.
func TestSlowClientStallsNobody(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	const lazy = 20
	for i := range lazy {
		_, socket := pair(t, edge, owner, mesh, i)
		go func() { // more than all buffers hold
			_, _ = socket.Write(make([]byte, 1<<20))
		}()
	}
	client, socket := pair(t, edge, owner, mesh, lazy)
	for i := range 50 {
		text := strings.Repeat(fmt.Sprintf("%09d\n", i), 1000)
		for _, way := range []struct{ from, to net.Conn }{{socket, client}, {client, socket}} {
			var written sync.WaitGroup // smux takes one writer of a stream at a time
			written.Go(func() { _, _ = io.WriteString(way.from, text) })
			expect(t, way.to, text)
			written.Wait()
		}
	}
}

// freezer is a proxy that can stop forwarding without closing anything.
type freezer struct {
	mu     sync.Mutex
	frozen bool
	thaw   chan struct{}
	conns  []net.Conn
}

func (f *freezer) forward(tb testing.TB, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wait sync.WaitGroup
	tb.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		if f.frozen {
			close(f.thaw)
			f.frozen = false
		}
		for _, c := range f.conns {
			_ = c.Close()
		}
		f.mu.Unlock()
		wait.Wait()
	})
	wait.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			f.mu.Lock()
			f.conns = append(f.conns, in, out)
			f.mu.Unlock()
			wait.Go(func() { f.copy(in, out) })
			wait.Go(func() { f.copy(out, in) })
		}
	})
	return l.Addr().String()
}

func (f *freezer) copy(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		f.mu.Lock()
		frozen, thaw := f.frozen, f.thaw
		f.mu.Unlock()
		if frozen { // not even the end is told
			<-thaw
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (f *freezer) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen, f.thaw = true, make(chan struct{})
}

func (f *freezer) melt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = false
	close(f.thaw)
}

// TestHalfOpenLink checks that both ends notice a link that carries nothing any more and cut its
// sockets, and that the nodes connect again once they can.
func TestHalfOpenLink(t *testing.T) {
	if 2*silence >= 5*time.Second {
		t.Errorf("a broken link is noticed after %s", 2*silence)
	}
	var proxy freezer
	table := newTable()
	edge := table.start(t, nil)
	owner := table.start(t, func(address string) string { return proxy.forward(t, address) })
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := edge.connect(t, mesh, "hello")
	socket := owner.next(t)
	expect(t, socket, "hello")

	began := time.Now()
	proxy.freeze()
	expectEnd(t, client)
	expectEnd(t, socket)
	t.Logf("cut after %s", time.Since(began))
	edge.await(t, "is broken")

	proxy.melt()
	client = edge.connect(t, mesh, "again")
	expect(t, owner.next(t), "again")
	_ = client
}

// TestRemovedNode checks that a node cuts the sockets of another node as soon as the database says
// that the other node is gone.
func TestRemovedNode(t *testing.T) {
	var proxy freezer
	table := newTable()
	edge := table.start(t, nil)
	owner := table.start(t, func(address string) string { return proxy.forward(t, address) })
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := edge.connect(t, mesh, "")
	owner.next(t)
	proxy.freeze()
	table.change(func() { table.nodes = table.nodes[:1] })
	expectEnd(t, client)
}

func TestStrangerIsRefused(t *testing.T) {
	table := newTable()
	n := table.start(t, nil)
	stranger, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	dead, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	table.change(func() { table.nodes = append(table.nodes, Node{ID: 7, PublicKey: dead.Public()}) })

	for name, config := range map[string]*tls.Config{
		"another key":         stranger.config(n.verifyAs),
		"a node that is dead": dead.config(n.verifyAs),
		"no certificate":      {InsecureSkipVerify: true, NextProtos: []string{protocol}},
		"another protocol":    {InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{stranger.certificate}},
		"no protocol":         {InsecureSkipVerify: true, Certificates: []tls.Certificate{stranger.certificate}},
		"TLS 1.2":             {InsecureSkipVerify: true, NextProtos: []string{protocol}, MaxVersion: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", n.Address, config)
			if err != nil {
				return
			}
			defer conn.Close()
			got, err := io.ReadAll(conn)
			if len(got) > 0 || err == nil {
				t.Errorf("the node answers %q, %v", got, err)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		conn, err := net.Dial("tcp", n.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		send(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		expectEnd(t, conn)
	})
	n.await(t, "a stranger")
	if len(n.accepted) > 0 {
		t.Error("a stranger's socket is served")
	}
}

// verifyAs accepts the node's own key, as another node would.
func (n *node) verifyAs(key ed25519.PublicKey) error {
	if !bytes.Equal(key, n.PublicKey) {
		return errors.New("another node")
	}
	return nil
}

// TestMeshHasMoved checks that a node that no longer owns a mesh says so, and that the relaying
// node finds the new owner.
func TestMeshHasMoved(t *testing.T) {
	table := newTable()
	edge, before, after := table.start(t, nil), table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, after.ID)
	table.change(func() { table.stale[edge.ID] = before.Node })
	client := edge.connect(t, mesh, "hello")
	expect(t, after.next(t), "hello")
	if len(before.accepted) > 0 {
		t.Error("the former owner serves the socket")
	}
	_ = client
}

func TestNoOwner(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if take, err := edge.Route(ctx, mesh, netip.Addr{}); take != nil || !errors.Is(err, ErrNoOwner) {
		t.Errorf("Route: %v, %v", take != nil, err)
	}
	got := make(chan served)
	go func() {
		s := <-owner.accepted
		table.change(func() {})
		got <- s
	}()
	time.AfterFunc(10*time.Millisecond, func() { table.own(mesh, owner.ID) })
	edge.connect(t, mesh, "late")
	expect(t, <-got, "late")
}

func TestForward(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := netip.MustParseAddr("2001:db8::1")
	request := func() *http.Request {
		r, err := http.NewRequest(http.MethodPost, "http://mesh/join", strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", "10.0.0.1") // a client can't change who it is
		return r
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := edge.Forward(ctx, mesh, client, request())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if want := `POST /join from 2001:db8::1: {"a":1}`; answer.StatusCode != http.StatusAccepted || string(body) != want {
		t.Errorf("answer %d %q; want %q", answer.StatusCode, body, want)
	}
	if answer, err := owner.Forward(ctx, mesh, client, request()); answer != nil || err != nil {
		t.Errorf("the owner forwards to itself: %v, %v", answer, err)
	}
	others := edge.Others()
	if len(others) != 1 || others[0].ID != owner.ID {
		t.Fatalf("others: %v", others)
	}
	if answer, err = edge.ForwardTo(ctx, others[0], client, request()); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
}

// TestLeave checks that a node that stops asks the owners to close the sockets that it relays.
func TestLeave(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := edge.connect(t, mesh, "")
	socket := owner.next(t)
	stay := table.start(t, nil).connect(t, mesh, "")
	remains := owner.next(t)

	go func() {
		<-socket.leave.Done()
		_, _ = io.WriteString(socket, "restart")
		_ = socket.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	edge.Leave(ctx)
	if ctx.Err() != nil {
		t.Error("the relayed sockets did not end")
	}
	expect(t, client, "restart")
	expectEnd(t, client)
	if remains.leave.Err() != nil {
		t.Error("a socket of another node is to leave too")
	}
	send(t, remains, "still here")
	expect(t, stay, "still here")
}

// TestUnknownPreface checks that a preface that a node does not understand ends its stream, not the
// link.
func TestUnknownPreface(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	client := edge.connect(t, mesh, "")
	socket := owner.next(t)
	edge.mu.Lock()
	l := edge.links[owner.ID]
	edge.mu.Unlock()
	if _, err := l.open(t.Context(), preface{Kind: "what a later version sends"}); !errors.Is(err, errBusy) {
		t.Errorf("open: %v", err)
	}
	session, _, _ := l.state()
	stream, err := session.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	send(t, stream, "\xff\xffgarbage")
	expectEnd(t, stream)
	_ = stream.Close()
	send(t, client, "fine")
	expect(t, socket, "fine")
}

func FuzzReadPreface(f *testing.F) {
	for _, p := range []preface{
		{Kind: kindSocket, Mesh: newMesh(), Client: netip.MustParseAddr("192.0.2.1"), Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Kind: kindCall, Client: netip.MustParseAddr("2001:db8::1")},
		{Kind: kindLeave},
	} {
		var b bytes.Buffer
		if err := writePreface(&b, p); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("\x00\x02{}"))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		p, err := readPreface(r)
		if read := len(data) - r.Len(); read > maxPreface+2 {
			t.Errorf("read %d bytes", read)
		}
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := writePreface(&b, p); err != nil {
			return // it grows beyond the limit, for example by escapes
		}
		again, err := readPreface(&b)
		if err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

var ids wire.IDSource

func newMesh() wire.ID { return ids.New(time.Now()) }

// stuck is the socket of a client that neither writes nor reads. Its deadlines don't pass.
type stuck struct {
	net.Conn
	writing chan struct{} // closed when somebody writes
	write   sync.Once
	ended   chan struct{} // closed by Close
	end     sync.Once
}

func newStuck() *stuck { return &stuck{writing: make(chan struct{}), ended: make(chan struct{})} }

func (s *stuck) Read([]byte) (int, error) {
	<-s.ended
	return 0, net.ErrClosed
}

func (s *stuck) Write([]byte) (int, error) {
	s.write.Do(func() { close(s.writing) })
	return s.Read(nil)
}

func (s *stuck) Close() error {
	s.end.Do(func() { close(s.ended) })
	return nil
}

func (*stuck) SetReadDeadline(time.Time) error  { return nil }
func (*stuck) SetWriteDeadline(time.Time) error { return nil }

// TestCloseDoesNotWaitForClients checks that Close ends while a client does not read what its owner
// has written.
func TestCloseDoesNotWaitForClients(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	take, err := edge.Route(t.Context(), mesh, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	client := newStuck()
	defer client.Close()
	take(client, nil)
	if n := edge.Relayed(); n != 1 {
		t.Errorf("the node relays %d sockets, want 1", n)
	}
	send(t, owner.next(t), "read me")
	<-client.writing
	closed := make(chan struct{})
	go func() {
		edge.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close waits for a client that does not read")
	}
	if n := edge.Relayed(); n != 0 {
		t.Errorf("a closed node relays %d sockets", n)
	}
}

// TestCloseWaitsForRequests checks that Close waits for the handlers of forwarded requests.
func TestCloseWaitsForRequests(t *testing.T) {
	table := newTable()
	edge, owner := table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, owner.ID)
	began := make(chan struct{})
	var ended atomic.Bool
	owner.handler = func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		for range 1000 {
			runtime.Gosched() // others go first
		}
		ended.Store(true)
	}
	asked := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://mesh/i/code", nil)
		if err == nil {
			_, err = edge.Forward(t.Context(), mesh, netip.Addr{}, r)
		}
		asked <- err
	}()
	<-began
	owner.Close()
	if !ended.Load() {
		t.Error("Close did not wait for the handler")
	}
	if err := <-asked; err == nil {
		t.Error("a request was answered by a node that is closed")
	}
}
