package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
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
	took      map[int64]bool   // the nodes that have ever got meshes
	patience  time.Duration    // of the nodes that start, see judge; 0: the usual
}

func newTable() *table {
	return &table{owners: make(map[wire.ID]int64), stale: make(map[int64]Node), changed: make(chan struct{}), addresses: make(map[int64]string), took: make(map[int64]bool)}
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
			v.took[v.self] = v.took[v.self] || !is
		}
	}
}

// hasTaken reports whether a node could ever get meshes.
func (t *table) hasTaken(n *node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.took[n.ID]
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
	t.change(func() {
		n.Elsewhere = slices.ContainsFunc(t.nodes, Node.Takes) // as a storage does for an unproven node
		t.took[n.ID] = !n.Elsewhere
		t.nodes = append(t.nodes, n.Node)
	})
	n.Relay = NewRelay(key, view{t, n.ID}, zap.New(zapcore.NewTee(core, zaptest.NewLogger(tb, zaptest.Level(zapcore.WarnLevel)).Core())))
	if t.patience > 0 {
		n.judge.patience = t.patience
	}
	n.Serve(listener, n, n)
	tb.Cleanup(n.Close)
	return n
}

// edgeAndOwner starts two nodes. The owner has a mesh, and the edge relays sockets of that mesh to it.
func edgeAndOwner(tb testing.TB) (t *table, edge, owner *node, mesh wire.ID) {
	tb.Helper()
	return edgeAndOwnerAt(tb, nil)
}

// edgeAndOwnerAt is edgeAndOwner with an owner that advertises another address.
func edgeAndOwnerAt(tb testing.TB, advertise func(string) string) (t *table, edge, owner *node, mesh wire.ID) {
	tb.Helper()
	t, mesh = newTable(), newMesh()
	edge, owner = t.start(tb, nil), t.start(tb, advertise)
	t.own(mesh, owner.ID)
	return t, edge, owner, mesh
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

func expect(tb testing.TB, conn net.Conn, want string) {
	tb.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
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

var ids wire.IDSource

func newMesh() wire.ID { return ids.New(time.Now()) }
