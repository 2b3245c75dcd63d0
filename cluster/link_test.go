package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

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
	var proxy freezer
	_, edge, owner, mesh := edgeAndOwnerAt(t, func(address string) string { return proxy.forward(t, address) })
	client := edge.connect(t, mesh, "hello")
	socket := owner.next(t)
	expect(t, socket, "hello")

	proxy.freeze()
	expectEnd(t, client)
	expectEnd(t, socket)
	edge.await(t, "is broken")

	proxy.melt()
	edge.connect(t, mesh, "again")
	expect(t, owner.next(t), "again")
}

// TestRemovedNode checks that a node cuts the sockets of another node as soon as the database says
// that the other node is gone.
func TestRemovedNode(t *testing.T) {
	var proxy freezer
	table, edge, owner, mesh := edgeAndOwnerAt(t, func(address string) string { return proxy.forward(t, address) })
	client := edge.connect(t, mesh, "")
	owner.next(t)
	proxy.freeze()
	table.change(func() { table.nodes = table.nodes[:1] })
	expectEnd(t, client)
}

// TestHelloForARemovedNode checks that a relay which waits for a connection to a node gives up when the
// node is removed, because another one may have the mesh now.
func TestHelloForARemovedNode(t *testing.T) {
	table, edge, owner, mesh := edgeAndOwner(t)
	owner.Close()
	edge.await(t, "no connection to another node")
	edge.mu.Lock()
	l := edge.linkLocked(owner.Node)
	edge.mu.Unlock()
	asked := make(chan error, 1)
	go func() {
		_, err := l.open(t.Context(), preface{Kind: kindSocket, Mesh: mesh})
		asked <- err
	}()
	table.change(func() { table.nodes = table.nodes[:1] })
	select {
	case err := <-asked:
		if !errors.Is(err, errGone) {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the relay still waits for the node")
	}
}

// TestNodeWhoseLeaseHasRunOut checks that a node keeps the sockets of another node whose lease has run
// out, until the database says that the other node is gone.
func TestNodeWhoseLeaseHasRunOut(t *testing.T) {
	table, edge, owner, mesh := edgeAndOwner(t)
	client := edge.connect(t, mesh, "hello")
	socket := owner.next(t)
	expect(t, socket, "hello")
	table.change(func() { table.nodes[1].Live = false })
	nodes, _ := view{table, edge.ID}.Nodes(t.Context())
	edge.keep(nodes)
	send(t, client, "again")
	expect(t, socket, "again")
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
