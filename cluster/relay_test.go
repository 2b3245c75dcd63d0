package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestRelay(t *testing.T) {
	_, edge, owner, mesh := edgeAndOwner(t)
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
	_, edge, owner, mesh := edgeAndOwner(t)
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
	_, edge, owner, mesh := edgeAndOwner(t)
	client := edge.connect(t, mesh, "")
	socket := owner.next(t)
	large := strings.Repeat("x", busyBuffer)
	go func() { _, _ = io.WriteString(client, large) }()
	expect(t, socket, large)
	send(t, socket, "answer")
	expect(t, client, "answer")
	await.Until(t, "only one goroutine waits", func() bool {
		stacks := make([]byte, 1<<20)
		var waiting []string
		for goroutine := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(goroutine, "(*splice).") {
				waiting = append(waiting, goroutine)
			}
		}
		return len(waiting) == 1 && strings.Contains(waiting[0], "(*splice).awaitClient(")
	})
	send(t, client, "still here")
	expect(t, socket, "still here")
}

// TestSlowClientStallsNobody checks that a client that does not read fills only its own window, and
// that nobody waits until it is cut.
func TestSlowClientStallsNobody(t *testing.T) {
	_, edge, owner, mesh := edgeAndOwner(t)
	const much = 512 << 10        // more than all buffers of one client hold
	lazy := make([]net.Conn, 100) // with so many, the buffers of all hold more than smux would allow by default
	var sent atomic.Int32
	for i := range lazy {
		var socket served
		lazy[i], socket = pair(t, edge, owner, mesh, i)
		go func() {
			_, _ = socket.Write(make([]byte, much))
			sent.Add(1)
		}()
	}
	client, socket := pair(t, edge, owner, mesh, len(lazy))
	for i := range 50 {
		text := strings.Repeat(fmt.Sprintf("%09d\n", i), 1000)
		for _, way := range []struct{ from, to net.Conn }{{socket, client}, {client, socket}} {
			var written sync.WaitGroup // smux takes one writer of a stream at a time
			written.Go(func() { _, _ = io.WriteString(way.from, text) })
			expect(t, way.to, text)
			written.Wait()
		}
	}
	if n := sent.Load(); n > 0 {
		t.Errorf("%d clients were sent all before they had read any of it", n)
	}
	var reading sync.WaitGroup
	for _, client := range lazy {
		reading.Go(func() {
			_ = client.SetReadDeadline(time.Now().Add(patience))
			if n, err := io.CopyN(io.Discard, client, much); err != nil {
				t.Errorf("a client was cut before it began to read: it got %d bytes of %d, %v", n, much, err)
			}
		})
	}
	reading.Wait()
}

// TestMeshHasMoved checks that a node that no longer owns a mesh says so, and that the relaying
// node finds the new owner.
func TestMeshHasMoved(t *testing.T) {
	table := newTable()
	edge, before, after := table.start(t, nil), table.start(t, nil), table.start(t, nil)
	mesh := newMesh()
	table.own(mesh, after.ID)
	table.change(func() { table.stale[edge.ID] = before.Node })
	edge.connect(t, mesh, "hello")
	expect(t, after.next(t), "hello")
	if len(before.accepted) > 0 {
		t.Error("the former owner serves the socket")
	}
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
