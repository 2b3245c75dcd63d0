package cluster

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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
	_, edge, owner, mesh := edgeAndOwner(t)
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
	_, edge, owner, mesh := edgeAndOwner(t)
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

// TestLeave checks that a node that stops asks the owners to close the sockets that it relays.
func TestLeave(t *testing.T) {
	table, edge, owner, mesh := edgeAndOwner(t)
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
