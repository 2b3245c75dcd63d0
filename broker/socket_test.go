package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowConn is a connection whose writes wait until the test receives them.
type slowConn struct {
	net.Conn // nil: the other methods must not be called
	writes   chan []byte
	closed   chan struct{}
}

func newSlowConn() *slowConn {
	return &slowConn{writes: make(chan []byte), closed: make(chan struct{})}
}

func (c *slowConn) Write(p []byte) (int, error) {
	select {
	case c.writes <- bytes.Clone(p):
		return len(p), nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *slowConn) Close() error {
	close(c.closed)
	return nil
}

// TestSocketCollectsWrites checks that the socket writes held frames at once, and later
// frames directly.
func TestSocketCollectsWrites(t *testing.T) {
	t.Parallel()
	conn := newSlowConn()
	s := &socket{Conn: conn}
	s.hold()
	for _, frame := range []string{"one ", "two ", "three"} {
		if _, err := s.Write([]byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	flushed := make(chan error, 1)
	go func() { flushed <- s.flush(time.Minute) }()
	if got := string(<-conn.writes); got != "one two three" {
		t.Fatalf("got first write %q, want all three frames", got)
	}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = s.Write([]byte("alone")) }()
	if got := string(<-conn.writes); got != "alone" {
		t.Fatalf("got write %q after the flush, want \"alone\"", got)
	}
}

// TestSocketNeverBlocksWhileFlushing checks that a frame written during a flush, such as
// the answer to a ping, does not wait for the peer.
func TestSocketNeverBlocksWhileFlushing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := newSlowConn()
		s := &socket{Conn: conn}
		s.hold()
		if _, err := s.Write([]byte("batch")); err != nil {
			t.Fatal(err)
		}
		flushed := make(chan error, 1)
		go func() { flushed <- s.flush(time.Minute) }()
		synctest.Wait() // the batch is being written, and nobody reads
		if _, err := s.Write([]byte("pong")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(make([]byte, heldLimit)); !errors.Is(err, errHeld) {
			t.Fatalf("write beyond the limit: got %v, want errHeld", err)
		}
		if got := string(<-conn.writes) + " " + string(<-conn.writes); got != "batch pong" {
			t.Fatalf("wrote %q, want \"batch pong\"", got)
		}
		if err := <-flushed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestSocketClosesWhenWriteFails checks that the socket writes nothing after a failed
// write, because a part of a frame may have gone out.
func TestSocketClosesWhenWriteFails(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	s := &socket{Conn: near}
	s.hold()
	if _, err := s.Write([]byte("nobody reads this")); err != nil {
		t.Fatal(err)
	}
	if err := s.flush(time.Millisecond); err == nil {
		t.Fatal("the flush succeeded although nobody reads")
	}
	if _, err := s.Write([]byte("more")); err == nil {
		t.Fatal("a write succeeded after a failed flush")
	}
}

func TestSocketReadsWhatCameEarly(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	s := &socket{Conn: near, early: []byte("early ")}
	go func() { _, _ = far.Write([]byte("late")); _ = far.Close() }()
	var got strings.Builder
	for buf := make([]byte, 4); ; {
		n, err := s.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if got.String() != "early late" {
		t.Fatalf("read %q, want \"early late\"", got.String())
	}
}

// TestPings checks that pings go out between frames, whatever else is being written, and
// that the socket notices the pongs.
func TestPings(t *testing.T) {
	t.Parallel()
	o, client := pipe(t)
	pings := make(chan struct{}, 100)
	o.socket.Conn = &watched{o.socket.Conn, pings}
	received := make(chan string, 100)
	go func() { // reading answers pings
		for {
			_, data, err := client.Read(context.Background())
			if err != nil {
				close(received)
				return
			}
			received <- string(data)
		}
	}()
	go func() {
		for {
			if _, _, err := o.ws.Reader(context.Background()); err != nil {
				return
			}
		}
	}()
	for i := range 20 {
		before := o.socket.heard.Load()
		o.ping()
		o.add([]byte(fmt.Sprint("message ", i)))
		if got := <-received; got != fmt.Sprint("message ", i) {
			t.Fatalf("got %q, want \"message %d\"", got, i)
		}
		<-pings
		for o.socket.heard.Load() == before {
			runtime.Gosched() // the pong is on its way
		}
	}
}

// watched reports each ping that is written.
type watched struct {
	net.Conn
	pings chan<- struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	for range bytes.Count(p, pingFrame) {
		w.pings <- struct{}{}
	}
	return w.Conn.Write(p)
}
