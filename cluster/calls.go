package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// call sends one request over a stream, which ends with the body of the answer.
func call(ctx context.Context, stream net.Conn, req *http.Request) (*http.Response, error) {
	stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
	answer, err := func() (*http.Response, error) {
		if err := req.Write(stream); err != nil {
			return nil, err
		}
		return http.ReadResponse(bufio.NewReader(stream), req)
	}()
	if err != nil {
		stop()
		_ = stream.Close()
		return nil, fmt.Errorf("forward a request: %w", err)
	}
	answer.Body = &callBody{answer.Body, stream, stop}
	return answer, nil
}

type callBody struct {
	io.ReadCloser
	stream net.Conn
	stop   func() bool
}

func (b *callBody) Close() error {
	b.stop()
	return errors.Join(b.ReadCloser.Close(), b.stream.Close())
}

// callTimeout is how long a forwarded request may take in all.
const callTimeout = 30 * time.Second

// calls makes an http.Server serve streams as if each were a connection.
type calls struct {
	server  *http.Server
	conns   chan net.Conn
	served  sync.WaitGroup // for the connections that the server has accepted
	closed  chan struct{}
	closing sync.Once
}

type clientKey struct{}

// clientConn is a stream with the client that another node has told.
type clientConn struct {
	net.Conn
	client netip.Addr
}

// Client returns the address of the client whose request another node has forwarded.
func Client(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(clientKey{}).(netip.Addr)
	return addr
}

func newCalls(handler http.Handler) *calls {
	c := &calls{conns: make(chan net.Conn), closed: make(chan struct{})}
	c.server = &http.Server{
		Handler: handler, ReadTimeout: callTimeout, WriteTimeout: callTimeout,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if c, ok := conn.(clientConn); ok {
				return context.WithValue(ctx, clientKey{}, c.client)
			}
			return ctx
		},
		ConnState: c.count,
	}
	c.server.SetKeepAlivesEnabled(false) // a stream costs less than keeping one
	return c
}

// run serves until the server is closed, and waits for the handlers. http.Server.Close does not.
func (c *calls) run() {
	_ = c.server.Serve(c)
	c.served.Wait()
}

// count counts the connections. The server calls it with StateNew before it accepts the next
// connection, and with the other two states after the handler has returned.
func (c *calls) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.served.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.served.Done()
	}
}

// serve passes a stream on to the server.
func (c *calls) serve(stream net.Conn, client netip.Addr) {
	select {
	case c.conns <- clientConn{stream, client}:
	case <-c.closed:
		_ = stream.Close()
	}
}

// Accept implements net.Listener.
func (c *calls) Accept() (net.Conn, error) {
	select {
	case conn := <-c.conns:
		return conn, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (c *calls) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return nil
}

// Addr implements net.Listener.
func (c *calls) Addr() net.Addr { return &net.TCPAddr{} }
