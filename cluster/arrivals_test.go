package cluster

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/xtaci/smux"
)

// crumbs is a connection from which every read returns one byte.
type crumbs struct{ net.Conn }

func (c crumbs) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(1, len(p))]) }

// TestArrivals checks that a stream is ready when bytes have come, or its end, and only then,
// however the connection cuts frames.
func TestArrivals(t *testing.T) {
	near, far := tcpPair(t)
	arrivals := newArrivals(crumbs{near})
	batched := newBatched(arrivals)
	client, err := smux.Client(batched, multiplexing())
	if err != nil {
		t.Fatal(err)
	}
	opener := &session{client, batched, arrivals}
	server, err := smux.Server(far, multiplexing())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	open := func() (*stream, *smux.Stream) {
		s, err := opener.open()
		if err != nil {
			t.Fatal(err)
		}
		peer, err := server.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		return s, peer
	}
	await := func(s *stream, cause func()) {
		t.Helper()
		woken := make(chan struct{})
		if s.ready(func() { close(woken) }) {
			t.Fatal("the stream is ready before anything has come")
		}
		cause()
		select {
		case <-woken:
		case <-time.After(patience):
			t.Fatal("nobody tells that something has come")
		}
		if !s.ready(nil) {
			t.Fatal("the stream is not ready after something has come")
		}
	}

	s, peer := open()
	other, _ := open()
	for range 3 {
		await(s, func() { send(t, peer, "some bytes") })
		expect(t, s, "some ")
		if !s.ready(nil) {
			t.Fatal("the stream is not ready while bytes are left")
		}
		expect(t, s, "bytes")
	}
	await(s, func() { _ = peer.Close() })
	if n, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end, Read returned %d, %v", n, err)
	}
	_ = s.Close()
	await(other, func() {
		_ = server.Close()
		_ = opener.awaitClosed()
	})
	if len(arrivals.streams) > 0 {
		t.Error("a connection that has ended keeps streams")
	}
}
