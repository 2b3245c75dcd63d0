// Package doortest lets tests answer TCP connections in ways of their own, and pass them on or lose them.
package doortest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Door is a listener that does something with each connection, and then closes it.
type Door struct {
	Address string
	close   func()
}

// Open listens at an address, with port 0 at any free port, until Close or the end of the test. It
// calls answer with each connection.
func Open(t testing.TB, address string, answer func(net.Conn)) *Door {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return Answer(t, l, answer)
}

// Answer is Open for a listener.
func Answer(t testing.TB, l net.Listener, answer func(net.Conn)) *Door {
	t.Helper()
	var answers sync.WaitGroup
	life, end := context.WithCancel(context.Background())
	answers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(life, func() { _ = conn.Close() })
			answers.Go(func() {
				answer(conn)
				stop()
				_ = conn.Close()
			})
		}
	})
	d := &Door{l.Addr().String(), sync.OnceFunc(func() {
		_ = l.Close()
		end()
		answers.Wait()
	})}
	t.Cleanup(d.Close)
	return d
}

// Close stops listening, and closes all connections.
func (d *Door) Close() { d.close() }

// Nowhere returns an address of this machine at which nobody listens.
func Nowhere(t testing.TB) string {
	t.Helper()
	d := Open(t, "127.0.0.1:0", func(net.Conn) {})
	d.Close()
	return d.Address
}

// Silent reads and says nothing.
func Silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// PassTo returns a function that passes a connection on to an address.
func PassTo(address func() string) func(net.Conn) {
	return func(in net.Conn) {
		out, err := net.Dial("tcp", address())
		if err != nil {
			return
		}
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(in, out)
			_ = in.Close()
		})
		_, _ = io.Copy(out, in)
		_ = out.Close()
		back.Wait()
	}
}
