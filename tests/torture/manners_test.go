package torture

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// manners configures how a raw peer misbehaves. The zero value behaves well.
type manners struct {
	reading atomic.Int32 // freely, byByte or never
	deaf    atomic.Bool  // from its next connection on, the peer neither takes nor acknowledges messages
	forges  atomic.Bool  // the peer acknowledges other peers' messages
}

// The ways of reading.
const (
	freely int32 = iota
	byByte       // one byte a second
	never
)

// client returns an HTTP client whose connections read as configured.
func (m *manners) client() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// Keep the system's receive buffer small, so that it fills up soon.
		err = conn.(*net.TCPConn).SetReadBuffer(256 << 10)
		return &reluctantConn{Conn: conn, manners: m, closed: make(chan struct{})}, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// reluctantConn is a connection that reads as configured.
type reluctantConn struct {
	net.Conn
	manners *manners
	ended   atomic.Bool
	closed  chan struct{}
}

func (c *reluctantConn) Read(b []byte) (int, error) {
	// Check for changes once a second.
	for c.manners.reading.Load() == never {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	if c.manners.reading.Load() == byByte {
		select {
		case <-time.After(time.Second):
		case <-c.closed:
			return 0, net.ErrClosed
		}
		b = b[:min(1, len(b))]
	}
	return c.Conn.Read(b)
}

func (c *reluctantConn) Close() error {
	if c.ended.CompareAndSwap(false, true) {
		close(c.closed)
	}
	return c.Conn.Close()
}

// forge acknowledges other peers' messages if forges is set: the message whose id an ack has
// just revealed, and guesses based on that id.
func (m *manners) forge(ctx context.Context, ws *websocket.Conn, f *inFrame) error {
	if !m.forges.Load() {
		return nil
	}
	forged := []object{
		{"clientMessageId": f.ID, "brokerMessageId": f.MessageID},
		{"clientMessageId": f.MessageID},
	}
	own, number, _ := strings.Cut(f.ID, "-")
	for _, name := range []string{"raw1", "raw2", "raw3", "client4", "client5"} {
		if name != own {
			forged = append(forged, object{"clientMessageId": name + "-" + number})
		}
	}
	for _, o := range forged {
		o["type"] = "client_ack"
		if err := write(ctx, ws, o); err != nil {
			return err
		}
	}
	return nil
}
